"""Access tokens for OAUTHBEARER, as kafka-python asks for them at each log-in.

Knows where tokens come from: a setting, a file, or a token endpoint. Does not know what is in them.
"""

import base64
import http.client
import json
import ssl
import threading
import time
from pathlib import Path
from urllib.parse import quote_plus, urlencode, urlsplit

from kafka.errors import KafkaConnectionError, SaslAuthenticationFailedError
from kafka.net.sasl.oauth import AbstractTokenProvider

from workers.security import SecurityConfig

FETCH_TIMEOUT_S = 10.0
"""A client can do nothing else meanwhile; below the session's time-out, so that it costs no membership."""
RENEW_AT = 0.8
"""Share of a token's life after which it is renewed. The client logs in again at 0.85 to 0.95 of a session that
ends with the token: it must then get a new one, whose session is longer."""
MAX_ANSWER_BYTES = 1_000_000


class Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """The tokens of one client; kafka-python demands a class of this kind.

    Args:
        config: Settings with `token`, `token_file` or `token_url`.
    """

    def __init__(self, config: SecurityConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._bought = ""
        self._renew_at_s = 0.0

    def token(self) -> str:
        """A token that is valid now, as far as can be known here.

        Raises:
            KafkaConnectionError: There is none for now: the file can't be read, the endpoint does not answer.
            SaslAuthenticationFailedError: The endpoint refuses this client.
        """
        if self._config.token is not None:
            return self._config.token.get_secret_value()
        if self._config.token_file is not None:
            return _read(self._config.token_file)
        with self._lock:
            if time.monotonic() >= self._renew_at_s:
                self._bought, lifetime_s = _buy(self._config)
                self._renew_at_s = time.monotonic() + RENEW_AT * lifetime_s
            return self._bought


def _read(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise KafkaConnectionError(f"kafka.security.token_file = {path} can't be read: {error}") from None
    if not token:
        raise KafkaConnectionError(f"kafka.security.token_file = {path} is empty")
    return token


def _buy(config: SecurityConfig) -> tuple[str, float]:
    """A new token and its lifetime in seconds (RFC 6749, section 4.4).

    Not urllib: it would take the secret along to wherever the endpoint redirects.
    """
    try:
        status, body = _post(config)
    except (OSError, http.client.HTTPException) as error:
        raise KafkaConnectionError(f"kafka.security.token_url = {config.token_url}: {error}") from None
    try:
        answer = json.loads(body)
        if status == http.HTTPStatus.OK:
            return str(answer["access_token"]), float(answer.get("expires_in", 0.0))
        reason = str(answer["error"])
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = "not the JSON of a token endpoint"
    message = f"kafka.security.token_url = {config.token_url} answers {status}, {reason}"
    if status in (http.HTTPStatus.BAD_REQUEST, http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
        raise SaslAuthenticationFailedError(f"{message}: correct client_id, client_secret or scope")
    raise KafkaConnectionError(message)


def _post(config: SecurityConfig) -> tuple[int, bytes]:
    assert config.token_url is not None
    assert config.client_id is not None
    assert config.client_secret is not None
    url = urlsplit(config.token_url)
    pair = f"{quote_plus(config.client_id)}:{quote_plus(config.client_secret.get_secret_value())}"
    form = {"grant_type": "client_credentials"} | ({} if config.scope is None else {"scope": config.scope})
    headers = {
        "Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}",
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
    }
    connection = _connection(url.scheme, url.netloc, config)
    try:
        connection.request("POST", f"{url.path or '/'}?{url.query}".rstrip("?"), urlencode(form), headers)
        response = connection.getresponse()
        return response.status, response.read(MAX_ANSWER_BYTES)
    finally:
        connection.close()


def _connection(scheme: str, place: str, config: SecurityConfig) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(place, timeout=FETCH_TIMEOUT_S)
    context = ssl.create_default_context()
    if config.ca_file is not None:
        context.load_verify_locations(config.ca_file)
    return http.client.HTTPSConnection(place, timeout=FETCH_TIMEOUT_S, context=context)
