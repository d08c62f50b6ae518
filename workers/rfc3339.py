"""Times as headers, JSON lines and users write them."""

from datetime import UTC, datetime

from pipelines.errors import ConfigError


def parse_time(text: str) -> datetime:
    """A time of RFC 3339, also a shortened one; UTC unless it names its zone.

    Raises:
        ConfigError: It is none.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no time: write it like 2026-11-01T00:00Z or 2026-11-01") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def time_text(time: datetime) -> str:
    """A time as headers and JSON have it."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
