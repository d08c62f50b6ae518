"""Whether a broker and a client come to terms: encryption, certificates, log-in; and if not, why.

kafka-python itself tries until its time is up, and then only says that it was in vain. Knows the errors of TLS
and SASL, and which setting each is about. Does not know topics or rights.
"""

import contextlib
import queue
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kafka.errors import IllegalSaslStateError, SaslAuthenticationFailedError, UnsupportedSaslMechanismError
from kafka.net.connection import KafkaConnection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.protocol.metadata import MetadataRequest

from pipelines.errors import ConfigError
from workers.security import SecurityConfig

PROBE_TIMEOUT_S = 2.0
_LISTENERS = "check kafka.bootstrap_servers and the broker's listeners"
X509_EXPIRED, X509_HOSTNAME, X509_ADDRESS = 10, 62, 64
"""OpenSSL's codes (x509_vfy.h): certificate has expired, hostname mismatch, IP address mismatch."""


class BrokerError(ConfigError):
    """The broker and this client can't work together.

    Args:
        what: What is wrong, one line.
        fix: What to do about it.
    """

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what, fix)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}: {self.fix}"


def check_handshake(
    servers: Sequence[str], options: Mapping[str, Any], security: SecurityConfig, timeout_s: float
) -> None:
    """Connect to the servers, log in, and ask for nothing in particular.

    Args:
        servers: "host:port" of each; one that answers is enough.
        options: Of a client.
        security: What the options were made from.
        timeout_s: Longest time for all.

    Raises:
        BrokerError: None of them lets us in; of several reasons the last.
    """
    outcomes: queue.Queue[tuple[str, Exception | None]] = queue.Queue()

    def shake(server: str) -> None:
        error = _shake({**options, "bootstrap_servers": [server]}, timeout_s)
        outcomes.put((server, error))

    for server in servers:
        threading.Thread(target=shake, args=[server], name="handshake", daemon=True).start()
    deadline_s = time.monotonic() + timeout_s
    reason = BrokerError(f"{', '.join(servers)} does not answer as a Kafka broker", _LISTENERS)
    for _ in servers:
        try:
            server, error = outcomes.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            break
        if error is None:
            return
        reason = explain(server, error, security)
    raise reason


def explain(server: str, error: BaseException, security: SecurityConfig) -> BrokerError:
    """Say which setting an error of the connection is about."""
    cause = error.__context__ or (error.args[0] if error.args else None)
    if isinstance(error, SaslAuthenticationFailedError):
        return _refused_log_in(server, error, security)
    if isinstance(error, UnsupportedSaslMechanismError):
        what = f"{server} does not offer the log-in {security.sasl_mechanism}"
        return BrokerError(what, "set kafka.security.sasl_mechanism to one that the listener has enabled")
    if isinstance(error, IllegalSaslStateError):
        other = "SSL" if security.uses_tls else "PLAINTEXT"
        return BrokerError(
            f"{server} knows no log-in", f"set kafka.security.protocol to {other}, or dial another port"
        )
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _bad_certificate(server, cause, security)
    if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
        return _refused_certificate(server, cause, security)
    if "Handshake failed" in str(error):
        other = "SASL_PLAINTEXT" if security.uses_sasl else "PLAINTEXT"
        fix = f"dial the broker's TLS port, or set kafka.security.protocol to {other} if nobody can listen in"
        return BrokerError(f"{server} does not speak TLS ({cause})", fix)
    if not security.uses_tls and _speaks_tls(server):
        what = f"{server} does not answer on protocol {security.protocol}: it speaks TLS"
        return BrokerError(what, "set kafka.security.protocol to SSL or SASL_SSL")
    if _is_hang_up(error):
        return _hung_up(server, error, security)
    return BrokerError(f"{server} does not answer as a Kafka broker ({_one_line(error)})", _LISTENERS)


def _shake(options: Mapping[str, Any], timeout_s: float) -> Exception | None:
    """Make one connection of the clients' own kind; unlike the clients, say what went wrong."""
    net = NetworkSelector()
    manager = KafkaConnectionManager(net, **options)

    async def connect() -> None:
        (node,) = manager.cluster.bootstrap_brokers()
        transport = await manager._build_transport(node)
        _keep_last_words(transport)
        connection = KafkaConnection(net, node.node_id, manager.broker_version_data, **manager.config)
        connection.connection_made(transport)
        # Awaited one by one, for its own way through these steps may tell of the hang-up only.
        await connection._get_api_versions()
        if connection.sasl_enabled:
            await connection._sasl_authenticate()
        # A listener that wants a log-in lets those without one ask for its versions, and hangs up after that.
        await connection._send_request(MetadataRequest(topics=[]))

    async def connect_in_time() -> None:
        await manager.wait_for(manager.call_soon(connect), timeout_s * 1000)

    try:
        net.run(connect_in_time)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is to be explained
        return error
    finally:
        manager.close()
        net.close()
    return None


def _keep_last_words(transport: Any) -> None:
    """Have what a broker says before it hangs up read first.

    kafka-python 3.0.12 throws away what it has read when the same read meets the end of the connection.
    """
    receive = transport._sock_recv

    def receive_all() -> tuple[bytes, Exception | None]:
        data, error = receive()
        return data, None if data else error  # the end is met again by the next read

    transport._sock_recv = receive_all


def _refused_log_in(server: str, error: BaseException, security: SecurityConfig) -> BrokerError:
    what = f"{server} refuses the log-in by {security.sasl_mechanism} ({_one_line(error)})"
    if security.token_url is not None:
        return BrokerError(what, "correct kafka.security.token_url, client_id, client_secret or scope")
    if security.token_file is not None:
        return BrokerError(what, "put a valid token into kafka.security.token_file")
    if security.token is not None:
        return BrokerError(what, "give a valid kafka.security.token")
    return BrokerError(what, f"correct kafka.security.username = {security.username} or its password")


def _bad_certificate(
    server: str, error: ssl.SSLCertVerificationError, security: SecurityConfig
) -> BrokerError:
    what = f"{server} shows a certificate that is not trusted ({error.verify_message})"
    if error.verify_code == X509_EXPIRED:
        return BrokerError(what, "have the broker's certificate renewed, or set this machine's clock")
    if error.verify_code in (X509_HOSTNAME, X509_ADDRESS):
        fix = "dial the broker by a name in its certificate; kafka.security.check_hostname: false would accept it"
        return BrokerError(what, fix)
    given = "the system's authorities" if security.ca_file is None else str(security.ca_file)
    return BrokerError(what, f"set kafka.security.ca_file to the authority that signed it (now {given})")


def _refused_certificate(server: str, error: ssl.SSLError, security: SecurityConfig) -> BrokerError:
    reason = (error.reason or "").lower().replace("_", " ")
    if security.cert_file is None:
        return BrokerError(
            f"{server} breaks off the TLS handshake ({reason}): it may want a client's certificate",
            "set kafka.security.cert_file and key_file",
        )
    what = f"{server} does not accept the client's certificate {security.cert_file} ({reason})"
    return BrokerError(what, "give one that is valid and that the broker's authority has signed")


def _is_hang_up(error: BaseException) -> bool:
    return any(words in str(error) for words in ("disconnected", "reset by peer", "Broken pipe"))


def _hung_up(server: str, error: BaseException, security: SecurityConfig) -> BrokerError:
    if security.uses_sasl:
        return _refused_log_in(server, error, security)
    what = f"{server} hangs up on protocol {security.protocol}: it may want a log-in"
    if not security.uses_tls:
        return BrokerError(what, "set kafka.security.protocol to SASL_PLAINTEXT")
    fix = "set kafka.security.protocol to SASL_SSL, or kafka.security.cert_file and key_file"
    return BrokerError(f"{what} or a client's certificate", fix)


def _speaks_tls(server: str) -> bool:
    """Only greets: whoever answers in TLS gets nothing from us, so that it need not be trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host, _, port = server.rpartition(":")
    with contextlib.suppress(OSError):
        plain = socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_TIMEOUT_S)
        with plain, context.wrap_socket(plain):
            return True
    return False


def _one_line(error: BaseException) -> str:
    """What an error says, without its class in front, as kafka-python's have it once or twice."""
    name = f"{type(error).__name__}: "
    return " ".join(str(error).split()).replace(name, "") or type(error).__name__
