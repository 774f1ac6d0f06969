"""What HashiCorp documents of Vault's KV engine, version 2, and of its login by a Kubernetes account, over HTTP.

https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2 and …/auth/kubernetes. It is not Vault.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class VaultServer:
    """Its state, which the test changes."""

    url: str = ""
    secrets: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By `mount/path`."""
    deleted: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    accounts: dict[tuple[str, str], str] = field(default_factory=dict)
    """Role and the account's own token -> the token that it gets."""
    sealed: bool = False
    asked: list[str] = field(default_factory=list)
    answering: threading.Event = field(default_factory=threading.Event)
    """Cleared, it takes requests and never answers."""

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        """Status and document of one request."""
        self.asked.append(path)
        self.answering.wait(30)
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if method in ("POST", "PUT") and path == "/v1/auth/kubernetes/login":
            given = self.accounts.get((body.get("role"), body.get("jwt")))
            if given is None:
                return 403, {"errors": ["permission denied"]}
            return 200, {"auth": {"client_token": given, "lease_duration": 3600, "renewable": True}}
        if token not in self.tokens:
            return 403, {"errors": ["permission denied"]}
        mount, _, rest = path.removeprefix("/v1/").partition("/data/")
        place = f"{mount}/{rest}"
        if place in self.deleted:
            metadata = {"deletion_time": "2026-01-01T00:00:00Z", "destroyed": False, "version": 1}
            return 404, {"data": {"data": None, "metadata": metadata}}
        if method != "GET" or place not in self.secrets:
            return 404, {"errors": []}
        metadata = {"created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": False, "version": 1}
        return 200, {"request_id": "1", "data": {"data": self.secrets[place], "metadata": metadata}}


@contextmanager
def vault_server() -> Iterator[VaultServer]:
    """One on a free port of loopback."""
    vault = VaultServer()
    vault.answering.set()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("X-Vault-Token", "")
            status, document = vault.answer(self.command, self.path, token, json.loads(content or b"{}"))
            text = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815  # as the library wants them

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        vault.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield vault
        finally:
            vault.answering.set()
            server.shutdown()
            thread.join()
