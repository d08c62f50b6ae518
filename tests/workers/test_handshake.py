"""What is told to whom a real Apache Kafka does not let in, and that no secret is told to anybody."""

import logging
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient

from tests.certificates import Authority
from tests.secure_kafka import PASSWORD, SecureKafka
from tests.workers.test_secure_broker import WAYS, reach, refusal, ways, without
from workers.config import Settings
from workers.doctor import broker
from workers.kafka import check_connection, client_options

pytestmark = pytest.mark.kafka


def test_each_wrong_setting_is_told_with_its_remedy(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    found = ways(secure_kafka)
    stranger = Authority(tmp_path, "stranger")
    foreign = stranger.issue("worker")
    tls, scram, oauth = found["TLS"][1], found["SCRAM-SHA-512"][1], found["OAUTHBEARER"][1]
    issuer = secure_kafka.issuer
    expired, nonsense = issuer.token("worker", -500), "no.token.atall"
    own = {"cert_file": foreign.cert_file, "key_file": foreign.key_file}
    clear = found["PLAIN in the clear"][1]
    cases: list[tuple[str, dict[str, Any], str, str]] = [
        ("PLAINTEXT", tls, "does not speak TLS", "kafka.security.protocol to PLAINTEXT"),
        ("OPEN_SASL", scram, "does not speak TLS", "kafka.security.protocol to SASL_PLAINTEXT"),
        ("TLS", {}, "speaks TLS", "kafka.security.protocol to SSL or SASL_SSL"),
        ("SASL", clear, "speaks TLS", "kafka.security.protocol to SSL or SASL_SSL"),
        ("OPEN_SASL", {}, "may want a log-in", "kafka.security.protocol to SASL_PLAINTEXT"),
        ("SASL", tls, "may want a log-in", "kafka.security.protocol to SASL_SSL"),
        ("PLAINTEXT", clear, "knows no log-in", "kafka.security.protocol to PLAINTEXT"),
        ("TLS", scram, "knows no log-in", "kafka.security.protocol to SSL"),
        ("TLS", tls | {"ca_file": stranger.ca_file}, "not trusted", "kafka.security.ca_file"),
        ("TLS", {"protocol": "SSL"}, "not trusted", "(now the system's authorities)"),
        ("EXPIRED", tls, "has expired", "renewed"),
        ("ELSEWHERE", tls, "not valid for '127.0.0.1'", "kafka.security.check_hostname"),
        ("MUTUAL", tls, "a client's certificate", "kafka.security.cert_file and key_file"),
        ("MUTUAL", tls | own, "does not accept the client's certificate", "signed"),
        ("SASL", scram | {"password": "wrong"}, "refuses the log-in by SCRAM-SHA-512", "username = worker"),
        ("SASL", scram | {"username": "nobody-here"}, "refuses the log-in", "username = nobody-here"),
        ("SASL", found["PLAIN"][1] | {"password": "wrong"}, "refuses the log-in by PLAIN", "password"),
        ("OPEN_SASL", clear | {"sasl_mechanism": "SCRAM-SHA-512"}, "does not offer", "sasl_mechanism"),
        ("SASL", oauth | {"token": expired}, "refuses the log-in by OAUTHBEARER", "kafka.security.token"),
        ("SASL", oauth | {"token": nonsense}, "refuses the log-in by OAUTHBEARER", "kafka.security.token"),
    ]
    for listener, security, what, fix in cases:
        config = reach(secure_kafka, (listener, security))
        message = refusal(config)
        assert what in message, listener
        assert fix in message, message
        told = broker(Settings(kafka=config))
        assert what in told.detail
        assert told.fix is not None
        assert fix in told.fix
    # Whoever knows better may do without the name in the certificate.
    check_connection(reach(secure_kafka, ("ELSEWHERE", tls | {"check_hostname": False})))


def test_a_token_file_is_read_anew_and_its_faults_are_told(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(secure_kafka.issuer.token("worker", -500))
    way = ways(secure_kafka)["OAUTHBEARER"]
    config = reach(secure_kafka, (way[0], without(way, "token") | {"token_file": file}))
    assert "put a valid token into kafka.security.token_file" in refusal(config)
    file.write_text(secure_kafka.issuer.token("worker") + "\n")
    check_connection(config)
    file.write_text("")
    assert f"kafka.security.token_file = {file} is empty" in refusal(config)
    file.unlink()
    assert "can't be read" in refusal(config)


def test_secrets_are_never_logged(secure_kafka: SecureKafka, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    found = ways(secure_kafka)
    for way in WAYS:
        config = reach(secure_kafka, found[way])
        check_connection(config)
        KafkaAdminClient(**client_options(config)).close()
    refusal(reach(secure_kafka, ("SASL", found["PLAIN"][1] | {"password": "wrong-password"})))
    assert "kafka" in {record.name.partition(".")[0] for record in caplog.records}
    for secret in (PASSWORD, "wrong-password", found["OAUTHBEARER"][1]["token"]):
        assert secret not in caplog.text
