import pytest

from pipelines.errors import ConfigError
from workers.config import Settings, validate_settings


def refusal(args: object) -> str:
    with pytest.raises(ConfigError) as caught:
        validate_settings(args)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_means_the_defaults() -> None:
    assert validate_settings({}) == Settings()


@pytest.mark.parametrize(
    ("args", "nearest"),
    [
        ({"kafka": {"group": "a"}}, "kafka.group_id"),
        ({"flow": {"max_in_flight": 3}}, "flow.max_in_flight"),
        ({"media": {"allowed_root": []}}, "media.allowed_roots"),
        ({"kafak": {}}, "kafka"),
    ],
)
def test_an_unknown_key_gets_the_nearest_known_one(args: dict[str, object], nearest: str) -> None:
    assert nearest in refusal(args)


@pytest.mark.parametrize(
    ("args", "path"),
    [
        ({"kafka": {"delivery": "maybe"}}, "kafka.delivery"),
        ({"kafka": {"transaction_timeout_s": 60}}, "kafka.transaction_timeout_s"),
        ({"kafka": {"request_timeout_s": 0.1}}, "kafka.request_timeout_s"),
        ({"kafka": {"group_id": ""}}, "kafka.group_id"),
        ({"flow": {"max_attempts": 0}}, "flow.max_attempts"),
        ({"flow": {"max_concurrent_extractions": "many"}}, "flow.max_concurrent_extractions"),
        ({"model": {"device": "tpu"}}, "model.device"),
        ({"model": {"precision": "fp8"}}, "model.precision"),
        ({"model": {"device": "cpu", "execution": "graphs"}}, "model.execution: model.device is 'cpu'"),
        ({"model": {"num_threads": 0}}, "model.num_threads"),
        ({"telemetry": {"log_level": "LOUD"}}, "telemetry.log_level"),
        ({"flow": 3}, "flow"),
    ],
)
def test_a_wrong_value_is_named_with_its_path(args: dict[str, object], path: str) -> None:
    assert refusal(args).startswith(path)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        validate_settings({}).kafka.group_id = "other"


def test_values_come_from_the_environment_where_they_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERS", "kafka:9092")
    args = {"kafka": {"bootstrap_servers": "${BROKERS}"}, "media": {"allowed_roots": ["/srv/${BROKERS}"]}}
    settings = validate_settings(args)
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert settings.media.allowed_roots == ("/srv/kafka:9092",)
    monkeypatch.delenv("BROKERS")
    assert "BROKERS" in refusal(args)
