"""The settings `kafka.security`: how a client proves who it is to the broker, and the broker to it.

Knows which settings belong to which way of connecting, and kafka-python's names for them. Does not connect.
"""

import logging
import ssl
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, FilePath, SecretStr, model_validator

from pipelines.errors import ConfigError

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
Secret = Annotated[SecretStr, Field(min_length=1)]

TLS_ONLY = ("ca_file", "cert_file", "key_file", "key_password")
PASSWORD_ONLY = ("username", "password")
TOKEN_ONLY = ("token", "token_file", "token_url", "client_id", "client_secret", "scope")
LOOPBACK = ("localhost", "127.0.0.1", "::1")

TELLTALES = ("kafka.admin.client", "kafka.net.connection", "kafka.protocol.parser")
"""Loggers of kafka-python that write passwords and tokens, as options or as bytes sent, at the level DEBUG."""

for name in TELLTALES:
    logging.getLogger(name).setLevel(logging.INFO)


class SecurityConfig(BaseModel):
    """Group `kafka.security`. Secrets must come from the environment: write `${NAME}`.

    Attributes:
        protocol: As the broker's listener speaks: with TLS ("SSL", "SASL_SSL") or in the clear, with ("SASL_…")
            or without a log-in. In the clear, anybody on the way can read a PLAIN password.
        ca_file: Certificates (PEM) of the authorities that may vouch for the broker; null takes the system's.
        cert_file: The client's own certificate (PEM), for brokers that ask for one.
        key_file: Its private key (PEM).
        key_password: Of the private key, when it is encrypted.
        check_hostname: Whether the broker's certificate must be for the host that was dialled.
        sasl_mechanism: Way to log in, for the protocols "SASL_…".
        username: For PLAIN and SCRAM.
        password: For PLAIN and SCRAM.
        token: For OAUTHBEARER: an access token that does not change.
        token_file: For OAUTHBEARER: a file with the token, read anew at each log-in; something else renews it.
        token_url: For OAUTHBEARER: where the client's id and secret buy a token (the "client credentials" of
            OAuth 2.0, RFC 6749); renewed before it expires.
        client_id: For `token_url`.
        client_secret: For `token_url`.
        scope: For `token_url`: what is asked for; null leaves it to the server.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None
    key_password: Secret | None = None
    check_hostname: bool = True
    sasl_mechanism: Mechanism | None = None
    username: Annotated[str, Field(min_length=1)] | None = None
    password: Secret | None = None
    token: Secret | None = None
    token_file: FilePath | None = None
    token_url: str | None = None
    client_id: Annotated[str, Field(min_length=1)] | None = None
    client_secret: Secret | None = None
    scope: Annotated[str, Field(min_length=1)] | None = None

    @property
    def uses_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def uses_sasl(self) -> bool:
        """Whether the client logs in."""
        return self.protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    @model_validator(mode="after")
    def _is_complete(self) -> "SecurityConfig":
        """Each way of connecting has what it needs, and nothing that it would pass over in silence."""
        self._check_tls()
        self._check_sasl()
        self._check_token()
        return self

    def _check_tls(self) -> None:
        if not self.uses_tls:
            self._refuse(TLS_ONLY, f"does nothing with protocol {self.protocol}: use SSL or SASL_SSL")
            if not self.check_hostname:
                raise ValueError(f"check_hostname does nothing with protocol {self.protocol}")
        if self.cert_file is not None:
            self._need("key_file", "the client certificate in cert_file")
        if self.key_file is not None:
            self._need("cert_file", "the private key in key_file")
        if self.key_password is not None:
            self._need("key_file", "key_password")

    def _check_sasl(self) -> None:
        mechanism = self.sasl_mechanism
        if not self.uses_sasl:
            unused = ("sasl_mechanism", *PASSWORD_ONLY, *TOKEN_ONLY)
            self._refuse(
                unused, f"does nothing with protocol {self.protocol}: use SASL_SSL or SASL_PLAINTEXT"
            )
            return
        self._need("sasl_mechanism", f"protocol {self.protocol}")
        if mechanism == "OAUTHBEARER":
            self._refuse(PASSWORD_ONLY, "does nothing with sasl_mechanism OAUTHBEARER")
            sources = [
                name for name in ("token", "token_file", "token_url") if getattr(self, name) is not None
            ]
            if len(sources) != 1:
                given = " and ".join(sources) or "none"
                raise ValueError(f"OAUTHBEARER needs one of token, token_file, token_url (got {given})")
            return
        self._refuse(TOKEN_ONLY, f"does nothing with sasl_mechanism {mechanism}: it is for OAUTHBEARER")
        for name in PASSWORD_ONLY:
            self._need(name, f"sasl_mechanism {mechanism}")

    def _check_token(self) -> None:
        if self.token_url is None:
            self._refuse(("client_id", "client_secret", "scope"), "does nothing without token_url")
            return
        self._need("client_id", "token_url")
        self._need("client_secret", "token_url")
        url = urlsplit(self.token_url)
        if not url.hostname or not (
            url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK)
        ):
            raise ValueError(
                f"token_url must begin with https://, lest others read the secret (got {self.token_url})"
            )

    def _need(self, name: str, why: str) -> None:
        if getattr(self, name) is None:
            raise ValueError(f"{name} is missing: {why} needs kafka.security.{name}")

    def _refuse(self, names: tuple[str, ...], why: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                raise ValueError(f"{name} {why}")


def security_options(config: SecurityConfig) -> dict[str, Any]:
    """The same as options of any of kafka-python's clients.

    Raises:
        ConfigError: A file does not hold what it should.
    """
    options: dict[str, Any] = {"security_protocol": config.protocol}
    if config.uses_tls:
        options["ssl_context"] = tls_context(config)
    if config.uses_sasl:
        options["sasl_mechanism"] = config.sasl_mechanism
    if config.sasl_mechanism == "OAUTHBEARER":
        from workers.oauth import Tokens  # late: only who needs it loads an HTTP client

        options["sasl_oauth_token_provider"] = Tokens(config)
    elif config.password is not None:
        options["sasl_plain_username"] = config.username
        options["sasl_plain_password"] = config.password.get_secret_value()
    return options


def tls_context(config: SecurityConfig) -> ssl.SSLContext:
    """What is trusted, and what is shown, in TLS 1.2 or later.

    Raises:
        ConfigError: A file does not hold what it should.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = config.check_hostname
    try:
        if config.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(config.ca_file)
    except OSError as error:
        raise ConfigError(
            f"kafka.security.ca_file = {config.ca_file} can't be used ({error}): give certificates in PEM"
        ) from None
    if config.cert_file is not None and config.key_file is not None:
        # Without a password OpenSSL would ask for it at the terminal, and wait.
        password = "" if config.key_password is None else config.key_password.get_secret_value()
        try:
            context.load_cert_chain(config.cert_file, config.key_file, password)
        except OSError as error:
            raise ConfigError(
                f"kafka.security.cert_file = {config.cert_file} and key_file = {config.key_file} can't be used "
                f"({error}): {_remedy(error, config)}"
            ) from None
    return context


def _remedy(error: OSError, config: SecurityConfig) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "give the key that the certificate was made for"
    if config.key_password is None:
        return "give both in PEM, and key_password if the key is encrypted"
    return "correct key_password, or give both in PEM"
