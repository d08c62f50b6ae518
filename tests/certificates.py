"""Certificates and signed tokens for tests, each from an authority of its own. Knows nothing of Kafka."""

import base64
import ipaddress
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, as PEM files.

    Attributes:
        cert_file: The certificate.
        key_file: Its key.
        both_file: Both, as Kafka's PEM key store wants them.
    """

    cert_file: Path
    key_file: Path
    both_file: Path


class Authority:
    """A certificate authority.

    Args:
        folder: Where its files go.
        name: Of the authority, and of its file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * DAY)
            .not_valid_after(now + 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_may(key_cert_sign=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = folder / f"{name}.pem"
        self.ca_file.write_bytes(_pem(self._certificate))

    def issue(
        self,
        name: str,
        address: str | None = None,
        valid_for: timedelta = DAY,
        key_password: str | None = None,
    ) -> Identity:
        """A certificate for a name.

        Args:
            name: Its common name.
            address: IP address or host that it is valid for, if it is a server's.
            valid_for: From now; negative has it expired.
            key_password: Of the key's file.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 10 * DAY)
            .not_valid_after(now + valid_for)
            .add_extension(_may(digital_signature=True), critical=True)
        )
        if address is not None:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(address)]), critical=False
            )
        certificate = _pem(builder.sign(self._key, hashes.SHA256()))
        found = Identity(*(self._folder / f"{name}.{kind}.pem" for kind in ("cert", "key", "both")))
        found.cert_file.write_bytes(certificate)
        found.key_file.write_bytes(_key_pem(key, key_password))
        found.both_file.write_bytes(_key_pem(key, None) + certificate)
        return found


class TokenIssuer:
    """Signs access tokens (JWT, RS256) that a broker checks against the issuer's public key.

    Args:
        folder: Where the file with its public key (JWKS) goes.
    """

    def __init__(self, folder: Path) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers = self._key.public_key().public_numbers()
        public = {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig"}
        public |= {"n": _base64_number(numbers.n), "e": _base64_number(numbers.e)}
        self.keys_file = folder / "keys.json"
        self.keys_file.write_text(json.dumps({"keys": [public]}))

    def token(self, subject: str, lifetime_s: float = 300.0) -> str:
        """A token of a subject; a negative lifetime has it expired."""
        now_s = int(time.time())
        claims = {"sub": subject, "iat": now_s - 600, "exp": int(now_s + lifetime_s), "scope": "kafka"}
        signed = f"{_base64_json({'alg': 'RS256', 'kid': '1'})}.{_base64_json(claims)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64(signature)}"


def _may(key_cert_sign: bool = False, digital_signature: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey, password: str | None) -> bytes:
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        protection = serialization.BestAvailableEncryption(password.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _base64_json(value: Mapping[str, object]) -> str:
    return _base64(json.dumps(value).encode())


def _base64_number(number: int) -> str:
    return _base64(number.to_bytes((number.bit_length() + 7) // 8))
