"""A small OpenID Connect provider over HTTP: discovery, keys that rotate, and tokens that it signs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "uici"


class Issuer:
    """The provider. `asked` counts the requests for its keys; while it is `down`, they end in an error."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked = 0
        self.down = False
        self.private: dict[str, tuple[str, Any]] = {}
        self.add_rsa("rsa-1")
        self.add_ec("ec-1")

    def add_rsa(self, id_: str) -> None:
        self.private[id_] = "RS256", rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def add_ec(self, id_: str) -> None:
        self.private[id_] = "ES256", ec.generate_private_key(ec.SECP256R1())

    def keys(self) -> dict[str, Any]:
        """The JWK set."""
        found = []
        for id_, (algorithm, key) in self.private.items():
            of = RSAAlgorithm if algorithm == "RS256" else ECAlgorithm
            public = json.loads(of.to_jwk(key.public_key()))
            found.append(public | {"kid": id_, "use": "sig", "alg": algorithm})
        return {"keys": found}

    def claims(self, **more: Any) -> dict[str, Any]:
        """Claims of a good token; None takes one away."""
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": AUDIENCE, "sub": "248289761001", "email": "ann@example.com", "groups": ["sre"],
            "iat": now, "nbf": now, "exp": now + 600,
        } | more  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key: str = "rsa-1", headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that is signed by one of its keys."""
        algorithm, private = self.private[key]
        return jwt.encode(self.claims(**claims), private, algorithm, headers={"kid": key} | (headers or {}))


@contextmanager
def issuer() -> Iterator[Issuer]:
    """A provider on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, document = 200, {"issuer": provider.url, "jwks_uri": f"{provider.url}/keys"}
            if self.path == "/keys":
                provider.asked += 1
                document = provider.keys()
            if provider.down:
                status, document = 500, {}
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = Issuer(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield provider
        finally:
            server.shutdown()
