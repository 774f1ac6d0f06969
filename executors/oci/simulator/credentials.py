"""Who may sign: the user's API key of a new cloud, and the identity service's tokens.

A token (`ST$` and a JSON Web Token) carries the public key of the session, instance or resource that signs with it, as
`jwk`: https://docs.oracle.com/en-us/iaas/Content/API/SDKDocs/clitoken.htm
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

if TYPE_CHECKING:
    from executors.oci.simulator.cloud import Cloud

_PRIVATE_MODE = 0o600


class Credentials:
    """The keys of one simulated tenancy, in its folder: `config` is a configuration file of the SDK."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self._cloud = cloud
        self._folder = folder
        self.issuer = _key_in(folder / "issuer.pem")
        """Of the identity service: signs tokens, and the certificates of instances."""
        self._user = _key_in(folder / "key.pem")
        self.user_id = str(cloud.state.fact("user"))
        self._write_config()

    @property
    def config_file(self) -> Path:
        """What a client is configured with."""
        return self._folder / "config"

    @property
    def key_id(self) -> str:
        """Tenancy, user and fingerprint."""
        return f"{self._cloud.tenancy}/{self.user_id}/{fingerprint(self._user.public_key())}"

    def _write_config(self) -> None:
        config = configparser.ConfigParser()
        config["DEFAULT"] = {
            "user": self.user_id,
            "fingerprint": fingerprint(self._user.public_key()),
            "tenancy": self._cloud.tenancy,
            "region": "us-phoenix-1",
            "key_file": str(self._folder.resolve() / "key.pem"),
        }
        with self.config_file.open("w") as file:
            config.write(file)
        self.config_file.chmod(_PRIVATE_MODE)

    def find(self, key_id: str) -> rsa.RSAPublicKey | None:
        """The public key that belongs to a key id."""
        if key_id.startswith("ST$"):
            return self._of_token(key_id.removeprefix("ST$"))
        return self._user.public_key() if key_id == self.key_id else None

    def token(self, public_key: rsa.RSAPublicKey, seconds: float = 3600.0, **claims: object) -> str:
        """A token of the identity service for whoever holds the private key."""
        numbers = public_key.public_numbers()
        jwk = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e), "kid": "simulator", "alg": "RS256"}
        now = self._cloud.clock()
        payload = {
            "iss": "auth.simulator",
            "tenant": self._cloud.tenancy,
            "sub": self.user_id,
            "iat": int(now),
            "exp": int(now + seconds),
            "jwk": json.dumps(jwk),
            **claims,
        }
        text = f"{_encoded({'alg': 'RS256', 'typ': 'JWT'})}.{_encoded(payload)}"
        return f"{text}.{_text(self.issuer.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def _of_token(self, token: str) -> rsa.RSAPublicKey | None:
        try:
            text, signature = token.rsplit(".", 1)
            self.issuer.public_key().verify(_bytes(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256())
            claims = json.loads(_bytes(text.split(".")[1]))
            jwk = json.loads(claims["jwk"])
            numbers = rsa.RSAPublicNumbers(e=_whole(jwk["e"]), n=_whole(jwk["n"]))
        except (InvalidSignature, ValueError, KeyError, IndexError):
            return None
        return numbers.public_key() if claims.get("exp", 0) > self._cloud.clock() else None


def fingerprint(key: rsa.RSAPublicKey) -> str:
    """MD5 over the key's DER form, as Oracle names API keys."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    der = key.public_bytes(serialization.Encoding.DER, form)
    digits = hashlib.md5(der, usedforsecurity=False).hexdigest()
    return ":".join(digits[index : index + 2] for index in range(0, len(digits), 2))


def _key_in(path: Path) -> rsa.RSAPrivateKey:
    if path.exists():
        found = serialization.load_pem_private_key(path.read_bytes(), None)
        if not isinstance(found, rsa.RSAPrivateKey):
            raise TypeError(f"{path} holds no RSA key")
        return found
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.touch(mode=_PRIVATE_MODE)
    path.write_bytes(
        made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encoded(value: Mapping[str, Any]) -> str:
    return _text(json.dumps(value).encode())


def _number(value: int) -> str:
    return _text(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _whole(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")
