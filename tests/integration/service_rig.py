"""A whole UICI behind a real socket, for the tests of the service and of the command line."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from tests.real.process import end_supervisors
from uici.access.roles import Role
from uici.access.tokens import TokenStore
from uici.bootstrap import Application
from uici.bootstrap.serving import protocol
from uici.service.app import close_streams, create_app

DEADLINE = 30.0
MAX_BODY = 65_536
TARGETS = """
targets:
  web:
    summary: A service of the tests
    match: ['service="web"']
    bindings:
      local: {program: web, command: [/bin/sleep, "1000"]}
"""
PLATFORM = f"""
service: {{max_body_bytes: {MAX_BODY}, max_json_depth: 12}}
intake: {{commit_seconds: 3.0, queue_notifications: 2, wait_seconds: 60}}
access: {{rates: {{wrong_per_minute: 100000, requests_per_minute: 100000}}}}
"""


def write_site(folder: Path, *, targets: str = TARGETS, platform: str = PLATFORM, **more: str) -> Path:
    """A site's configuration folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ({"targets": targets, "platform": platform} | more).items():
        (folder / f"{name}.yml").write_text(text)
    return folder


@dataclass
class Served:
    """A running service and what its tests need."""

    application: Application
    url: str
    tokens: dict[Role, str]
    expired: str
    revoked: str
    client: httpx.Client

    def request(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        """One request; with `token` as bearer."""
        headers = dict(more.pop("headers", {})) | ({"Authorization": f"Bearer {token}"} if token is not None else {})
        return self.client.request(method, path, headers=headers, **more)

    def as_admin(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request with all permissions."""
        return self.request(method, path, self.tokens[Role.ADMIN], **more)

    def alert(self, payload: Any, **more: Any) -> httpx.Response:
        """Post to the webhook as Alertmanager does."""
        return self.request("POST", "/webhooks/alertmanager", self.tokens[Role.ALERTMANAGER], json=payload, **more)

    def emit(self, type_: str, **more: Any) -> None:
        """Write one event."""
        with self.application.events.writing() as connection:
            self.application.events.append(connection, type_, **more)


@contextmanager
def serving(folder: Path, *, trusted: ssl.SSLContext | None = None, state: str = "", **files: str) -> Iterator[Served]:
    """Serve a site that lives in `folder` until the block ends; without `state` it is a file there.

    `trusted` is how the client speaks TLS.
    """
    state = state or f"sqlite:///{folder / 'state' / 'uici.db'}"
    application = Application(write_site(folder / "config", **files), state)
    application.start()
    set_up = application.site.platform
    app = create_app(application.control, set_up.service, set_up.intake, set_up.access)
    # asyncio turns Nagle's algorithm off only where the protocol is named: without it each answer takes 40 ms more.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(256)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        **protocol(set_up.service),
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name="service")
    thread.start()
    url = f"{'http' if set_up.service.tls is None else 'https'}://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, timeout=DEADLINE, trust_env=False, verify=trusted or True) as client:
            yield Served(
                application=application,
                url=url,
                tokens={role: application.control.tokens.create(role, f"the {role.value}") for role in Role},
                expired=_expired(application),
                revoked=_revoked(application),
                client=client,
            )
    finally:
        server.should_exit = True
        close_streams(app)
        thread.join(DEADLINE)
        application.stop()
        listener.close()
        # The services of these tests outlive UICI on purpose; the tests do not.
        end_supervisors(folder)


def notification(*alerts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A notification as Alertmanager writes it."""
    return {
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "uici",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.test:9093",
        "alerts": list(alerts),
    } | more


def alert(name: str = "Unheard", **labels: str) -> dict[str, Any]:
    """A firing alert about nothing that the site knows, unless the labels say so."""
    return {
        "status": "firing",
        "labels": {"alertname": name, "severity": "critical", **labels},
        "annotations": {"summary": "a test"},
        "startsAt": "2026-01-02T03:04:05.678Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
    }


def _expired(application: Application) -> str:
    past = datetime.now(UTC) - timedelta(days=2)
    store = TokenStore(application.store, now=lambda: past)
    return store.create(Role.ADMIN, "expired", past + timedelta(days=1))


def _revoked(application: Application) -> str:
    tokens = application.control.tokens
    token = tokens.create(Role.ADMIN, "revoked")
    tokens.revoke(token.split("_")[1])
    return token
