"""The commands `hctdmg dlq`: options and their help.

Imports nothing heavy, as `workers.cli`. What a command does is in `workers.dlq`.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import STAGES, ConfigError
from workers.cli_options import AsJson, BootstrapServers, ConfigOption, Overrides, kafka_overrides
from workers.output import working

if TYPE_CHECKING:
    from workers.dead_letters import Wanted

dlq_app = typer.Typer(no_args_is_help=True, help="Look at dead letters, and put them back.")

Stages = Annotated[
    list[str] | None,
    typer.Option(
        "--stage",
        metavar="STAGE",
        help=f"Failed at this stage: {', '.join(STAGES)}. Repeatable: any of them.",
        show_default=False,
    ),
]
Errors = Annotated[
    list[str] | None,
    typer.Option(
        "--error",
        metavar="CLASS",
        help="Failed with this error, for example SegmentError. Repeatable: any of them.",
        show_default=False,
    ),
]
Streams = Annotated[
    list[str] | None,
    typer.Option(
        "--stream", metavar="STREAM_ID", help="Of this stream. Repeatable: any of them.", show_default=False
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Written at this time or later, like 2026-11-01T00:00Z; UTC unless it names a zone.",
        show_default=False,
    ),
]
Until = Annotated[
    str | None, typer.Option(metavar="TIME", help="Written before this time.", show_default=False)
]
Topic = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Default: kafka.dead_letter_topic of the settings.", show_default=False
    ),
]


@dlq_app.command("list")
def _list(
    stages: Stages = None,
    errors: Errors = None,
    streams: Streams = None,
    since: Since = None,
    until: Until = None,
    bootstrap_servers: BootstrapServers = None,
    topic: Topic = None,
    config: ConfigOption = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> int:
    """Show dead letters, each partition's oldest first, and whether they were replayed; stderr says how many.

    Example:  hctdmg dlq list --stage fetch --since 2026-11-01T00:00Z
    """
    with working("starting"):
        from workers.config_file import read_config_file
        from workers.dlq import list_dead_letters

        set_here = kafka_overrides(overrides, bootstrap_servers, dead_letter_topic=topic)
        kafka = read_config_file(config, set_here).settings.kafka
        wanted = _wanted(stages, errors, streams, since, until)
    return list_dead_letters(kafka, wanted, as_json)


@dlq_app.command("replay")
def _replay(
    stages: Stages = None,
    errors: Errors = None,
    streams: Streams = None,
    since: Since = None,
    until: Until = None,
    is_real: Annotated[
        bool, typer.Option("--yes", "--execute", help="Do it; otherwise it is only shown what would be done.")
    ] = False,
    bootstrap_servers: BootstrapServers = None,
    topic: Topic = None,
    config: ConfigOption = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> int:
    """Put dead letters back on the input topic, each once however often this runs; without --yes, show which.

    Example:  hctdmg dlq replay --stage fetch --yes
    """
    with working("starting"):
        from workers.config_file import read_config_file
        from workers.dlq import replay_dead_letters

        set_here = kafka_overrides(overrides, bootstrap_servers, dead_letter_topic=topic)
        kafka = read_config_file(config, set_here).settings.kafka
        wanted = _wanted(stages, errors, streams, since, until)
    return replay_dead_letters(kafka, wanted, is_real, as_json)


def _wanted(
    stages: list[str] | None,
    errors: list[str] | None,
    streams: list[str] | None,
    since: str | None,
    until: str | None,
) -> "Wanted":
    from workers.dead_letters import Wanted
    from workers.rfc3339 import parse_time

    if unknown := set(stages or ()).difference(STAGES):
        raise ConfigError(f"--stage {min(unknown)}: no such stage; they are {', '.join(STAGES)}")
    return Wanted(
        stages=frozenset(stages or ()),
        errors=frozenset(errors or ()),
        streams=frozenset(streams or ()),
        since=None if since is None else parse_time(since),
        until=None if until is None else parse_time(until),
    )
