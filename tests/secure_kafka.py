"""A real Apache Kafka that wants to know who comes and lets nobody do what no ACL allows.

One broker, a listener for each way of connecting. Its ACLs are changed through `plain`, a listener without
any security whose nameless users may do everything.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from kafka.admin import ACLResourcePatternType as PatternType

from tests.certificates import Authority, Identity, TokenIssuer
from tests.kafka_broker import KafkaBroker, free_ports, properties, running_server
from workers.config import KafkaConfig
from workers.kafka import client_options

PASSWORD = "correct horse: battery; staple"
"""Of every user."""
SCRAM_USERS = ("worker", "nobody")
HOST = "127.0.0.1"

LISTENERS = {
    # In a properties file, "ssl" asks for a client's certificate nowhere but at `mutual`.
    "PLAINTEXT": "PLAINTEXT",
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "EXPIRED": "SSL",
    "ELSEWHERE": "SSL",
    "SASL": "SASL_SSL",
    "OPEN_SASL": "SASL_PLAINTEXT",
}


@dataclass(frozen=True)
class Right:
    """What an ACL allows: an operation on a resource, whose name may be a prefix."""

    operation: ACLOperation
    kind: ResourceType
    name: str
    is_prefix: bool = False


@dataclass(frozen=True)
class SecureKafka:
    """A running broker with security.

    Attributes:
        plain: The same broker, for those who prepare and look.
        ports: Of each listener.
        authority: That signed the broker's certificates.
        client: A client's certificate, of User:CN=worker.
        issuer: Of the tokens that it accepts.
    """

    plain: KafkaBroker
    ports: dict[str, int]
    authority: Authority
    client: Identity
    issuer: TokenIssuer

    def servers(self, listener: str) -> str:
        """A listener's "host:port"."""
        return f"{HOST}:{self.ports[listener]}"

    def allow(self, principal: str, rights: Sequence[Right]) -> None:
        """Let a user do something; others can't."""
        admin = self._admin()
        admin.create_acls([_acl(principal, right) for right in rights])
        admin.close()

    def forbid(self, principal: str, rights: Sequence[Right]) -> None:
        """Take rights away again."""
        admin = self._admin()
        admin.delete_acls([_acl(principal, right) for right in rights])
        admin.close()

    def _admin(self) -> KafkaAdminClient:
        return KafkaAdminClient(**client_options(KafkaConfig(bootstrap_servers=self.plain.bootstrap_servers)))


@contextmanager
def running_secure_kafka() -> Iterator[SecureKafka]:
    """A broker with security, from when it answers until the block is left.

    Raises:
        KafkaMissingError: There is no Kafka to start.
    """
    folder = Path(tempfile.mkdtemp(prefix="hctdmg-secure-kafka-"))
    try:
        controller_port, *found = free_ports(1 + len(LISTENERS))
        ports = dict(zip(LISTENERS, found, strict=True))
        authority, issuer = Authority(folder, "authority"), TokenIssuer(folder)
        settings = properties(ports["PLAINTEXT"], controller_port, folder)
        settings |= _listeners(ports, controller_port) | _certificates(authority) | _sasl(issuer)
        settings |= {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # The controller's and the tests' own, without a name.
            "super.users": "User:ANONYMOUS",
        }
        scram = [f"{kind}=[name={user},password={PASSWORD!r}]" for user in SCRAM_USERS for kind in SCRAM]
        users = [option for one in scram for option in ("--add-scram", one.replace("'", '"'))]
        keys = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={issuer.keys_file.as_uri()}"]
        keys += [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.files={issuer.keys_file}"]
        with running_server(folder, settings, ports["PLAINTEXT"], users, keys) as pid:
            plain = KafkaBroker(f"{HOST}:{ports['PLAINTEXT']}", folder, pid)
            yield SecureKafka(
                plain, ports, authority, authority.issue("worker", key_password=PASSWORD), issuer
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")


def _listeners(ports: dict[str, int], controller_port: int) -> dict[str, object]:
    own = [f"{name}://{HOST}:{port}" for name, port in ports.items()]
    protocols = [f"{name}:{protocol}" for name, protocol in LISTENERS.items()]
    return {
        "listeners": ",".join([*own, f"CONTROLLER://{HOST}:{controller_port}"]),
        "advertised.listeners": ",".join(own),
        "listener.security.protocol.map": ",".join([*protocols, "CONTROLLER:PLAINTEXT"]),
        "inter.broker.listener.name": "PLAINTEXT",
    }


def _certificates(authority: Authority) -> dict[str, object]:
    stores = {
        "": authority.issue("broker", HOST),
        "listener.name.expired.": authority.issue("expired", HOST, timedelta(days=-1)),
        "listener.name.elsewhere.": authority.issue("elsewhere", "elsewhere.example"),
    }
    settings: dict[str, object] = {
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": authority.ca_file,
        "listener.name.mutual.ssl.client.auth": "required",
    }
    for prefix, store in stores.items():
        settings[f"{prefix}ssl.keystore.type"] = "PEM"
        settings[f"{prefix}ssl.keystore.location"] = store.both_file
    return settings


def _sasl(issuer: TokenIssuer) -> dict[str, object]:
    sasl, open_sasl, package = (
        "listener.name.sasl.",
        "listener.name.open_sasl.",
        "org.apache.kafka.common.security",
    )
    plain = f'{package}.plain.PlainLoginModule required user_worker="{PASSWORD}" user_nobody="{PASSWORD}";'
    return {
        f"{sasl}sasl.enabled.mechanisms": ",".join(("PLAIN", *SCRAM, "OAUTHBEARER")),
        f"{open_sasl}sasl.enabled.mechanisms": "PLAIN",
        f"{sasl}plain.sasl.jaas.config": plain,
        f"{open_sasl}plain.sasl.jaas.config": plain,
        **{
            f"{sasl}{kind.lower()}.sasl.jaas.config": f"{package}.scram.ScramLoginModule required;"
            for kind in SCRAM
        },
        f"{sasl}oauthbearer.sasl.jaas.config": f"{package}.oauthbearer.OAuthBearerLoginModule required;",
        f"{sasl}oauthbearer.sasl.server.callback.handler.class": (
            f"{package}.oauthbearer.OAuthBearerValidatorCallbackHandler"
        ),
        f"{sasl}oauthbearer.sasl.oauthbearer.jwks.endpoint.url": issuer.keys_file.as_uri(),
        # Sessions end with their token: the client must authenticate again meanwhile.
        f"{sasl}oauthbearer.connections.max.reauth.ms": "3600000",
    }


def _acl(principal: str, right: Right) -> ACL:
    pattern = PatternType.PREFIXED if right.is_prefix else PatternType.LITERAL
    return ACL(
        principal=principal,
        host="*",
        operation=right.operation,
        permission_type=ACLPermissionType.ALLOW,
        resource_pattern=ResourcePattern(right.kind, right.name, pattern),
    )
