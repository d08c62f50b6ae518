"""The settings `kafka.security`: what is missing or idle is told, and secrets stay secret."""

from pathlib import Path

import pytest

from pipelines.errors import ConfigError
from tests.certificates import Authority
from workers.config import KafkaConfig, validate_settings
from workers.config_file import read_config_file
from workers.config_report import effective_settings
from workers.kafka import client_options

PASSWORD = "hunter2-hunter2"


def refusal(**security: object) -> str:
    with pytest.raises(ConfigError) as caught:
        validate_settings({"kafka": {"security": security}})
    message = str(caught.value)
    assert message.startswith("kafka.security")
    assert "\n" not in message
    assert PASSWORD not in message
    return message


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", PASSWORD)
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("WRONG", "wrong")


LOG_IN = {"protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "username": "me", "password": "${PW}"}
BUY = {"protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "token_url": "https://id.example/token"}
BUY |= {"client_id": "me", "client_secret": "${PW}"}


@pytest.mark.parametrize(
    ("security", "named"),
    [
        ({"protocol": "SASL_SSL"}, "needs kafka.security.sasl_mechanism"),
        (LOG_IN | {"username": None}, "needs kafka.security.username"),
        (LOG_IN | {"password": None}, "needs kafka.security.password"),
        (LOG_IN | {"password": "${EMPTY}"}, "kafka.security.password"),
        (LOG_IN | {"sasl_mechanism": "GSSAPI"}, "kafka.security.sasl_mechanism"),
        ({"protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}, "one of token, token_file, token_url"),
        (BUY | {"token": "${PW}"}, "token and token_url"),
        (BUY | {"client_id": None}, "needs kafka.security.client_id"),
        (BUY | {"client_secret": None}, "needs kafka.security.client_secret"),
        (BUY | {"token_url": "http://id.example/token"}, "https://"),
        (BUY | {"token_url": "https:/token"}, "https://"),
        ({"protocol": "SSL", "cert_file": __file__}, "needs kafka.security.key_file"),
        ({"protocol": "SSL", "key_file": __file__}, "needs kafka.security.cert_file"),
        ({"protocol": "SSL", "key_password": "${PW}"}, "needs kafka.security.key_file"),
        ({"protocol": "SSL", "ca_file": "/nowhere.pem"}, "kafka.security.ca_file"),
    ],
)
def test_what_a_protocol_lacks_is_named(security: dict[str, object], named: str) -> None:
    assert named in refusal(**security)


@pytest.mark.parametrize(
    ("security", "named"),
    [
        ({"ca_file": __file__}, "ca_file"),
        ({"check_hostname": False}, "check_hostname"),
        ({"username": "me"}, "username"),
        ({"protocol": "SSL", "password": "${PW}"}, "password"),
        (LOG_IN | {"token": "${PW}"}, "token"),
        (LOG_IN | {"scope": "kafka"}, "scope"),
        (BUY | {"password": "${PW}"}, "password"),
    ],
)
def test_what_would_be_passed_over_in_silence_is_refused(security: dict[str, object], named: str) -> None:
    message = refusal(**security)
    assert f"{named} does nothing" in message


@pytest.mark.parametrize("name", ["password", "key_password", "token", "client_secret"])
@pytest.mark.parametrize("written", [PASSWORD, f"{PASSWORD}${{PW}}", 1234])
def test_a_secret_that_is_written_out_is_refused(name: str, written: object) -> None:
    message = refusal(**{name: written})
    assert f"kafka.security.{name}" in message
    assert "${KAFKA_" in message
    assert "1234" not in message


def test_an_unknown_key_gets_the_nearest_known_one() -> None:
    assert "did you mean kafka.security.password?" in refusal(pasword="${PW}")


def test_show_hides_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    shown = effective_settings(
        read_config_file(overrides=[f"kafka.security.{key}={value}" for key, value in LOG_IN.items()])
    )
    assert PASSWORD not in str(shown)
    assert shown["kafka"]["security"]["password"] == "***"  # type: ignore[index,call-overload]
    assert shown["kafka"]["security"]["username"] == "me"  # type: ignore[index,call-overload]


def test_settings_do_not_show_secrets_wherever_they_are_printed() -> None:
    settings = validate_settings({"kafka": {"security": LOG_IN}})
    assert PASSWORD not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert client_options(settings.kafka)["sasl_plain_password"] == PASSWORD


def test_files_that_do_not_hold_what_they_should_are_named(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    locked, open_ = authority.issue("locked", key_password=PASSWORD), other.issue("open")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    pair = {"cert_file": locked.cert_file, "key_file": locked.key_file}

    def trouble(**security: object) -> str:
        config = validate_settings({"kafka": {"security": {"protocol": "SSL", **security}}}).kafka
        with pytest.raises(ConfigError) as caught:
            client_options(config)
        assert PASSWORD not in str(caught.value)
        return str(caught.value)

    assert "ca_file" in trouble(ca_file=text)
    assert "key_password if the key is encrypted" in trouble(**pair)
    assert "the key that the certificate was made for" in trouble(**pair | {"key_file": open_.key_file})
    assert "correct key_password" in trouble(**pair, key_password="${WRONG}")


def test_without_settings_nothing_changes() -> None:
    assert client_options(KafkaConfig())["security_protocol"] == "PLAINTEXT"
