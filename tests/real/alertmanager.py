"""A real Alertmanager on a free port of loopback, alone or as two clustered peers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.real.components import ALERTMANAGER_BINARIES, binary, free_port, require_component
from tests.real.process import running
from tests.real.remote import Pair
from tests.real.web import web


@dataclass(frozen=True)
class Alertmanager:
    """A running Alertmanager."""

    address: str
    """`host:port`, as Prometheus' configuration wants it."""
    pid: int
    log: Path

    @property
    def url(self) -> str:
        """Base URL without a final slash."""
        return f"http://{self.address}"

    @staticmethod
    def config_for(
        webhook_url: str,
        *,
        token_file: Path | None = None,
        basic_auth: tuple[str, Path] | None = None,
        group_by: Sequence[str] = ("...",),
        group_wait: str = "0s",
        group_interval: str = "1s",
        repeat_interval: str = "1h",
        send_resolved: bool = True,
        max_alerts: int = 0,
        certificate: Pair | None = None,
        ca_file: str | None = None,
    ) -> str:
        """The text of a configuration with one webhook receiver.

        `token_file` holds a bearer token; `basic_auth` is a user name and the file of the password. `group_by`
        is `...` (every alert a group of its own) unless given. With `ca_file` it trusts that authority, and shows
        `certificate` where there is one.
        """
        webhook: dict[str, Any] = {"url": webhook_url, "send_resolved": send_resolved, "max_alerts": max_alerts}
        if token_file is not None:
            webhook["http_config"] = {
                "authorization": {"type": "Bearer", "credentials_file": str(token_file.resolve())}
            }
        elif basic_auth is not None:
            user, password_file = basic_auth
            webhook["http_config"] = {"basic_auth": {"username": user, "password_file": str(password_file.resolve())}}
        if ca_file is not None:
            tls: dict[str, Any] = {"ca_file": ca_file}
            if certificate is not None:
                tls |= {"cert_file": str(certificate.certificate), "key_file": str(certificate.key)}
            webhook.setdefault("http_config", {})["tls_config"] = tls
        return yaml.safe_dump(
            {
                "route": {
                    "receiver": "uici",
                    "group_by": list(group_by),
                    "group_wait": group_wait,
                    "group_interval": group_interval,
                    "repeat_interval": repeat_interval,
                },
                "receivers": [{"name": "uici", "webhook_configs": [webhook]}],
            },
            sort_keys=False,
        )

    def post_alerts(self, alerts: Sequence[dict[str, Any]]) -> None:
        """Send alerts as Prometheus would (API v2). Raises httpx.HTTPStatusError when they are refused."""
        web.post(f"{self.url}/api/v2/alerts", json=list(alerts), timeout=10.0).raise_for_status()

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts it knows, as API v2 gives them."""
        answer = web.get(f"{self.url}/api/v2/alerts", timeout=10.0)
        answer.raise_for_status()
        return list(answer.json())

    def peers(self) -> int:
        """How many members its cluster has, itself included; 0 when clustering is off."""
        answer = web.get(f"{self.url}/api/v2/status", timeout=10.0)
        answer.raise_for_status()
        return len(answer.json()["cluster"].get("peers") or [])


@contextmanager
def alertmanager(
    directory: Path, config: str, *, cluster: Sequence[str] = (), patience: str = "1s"
) -> Iterator[Alertmanager]:
    """Run Alertmanager with the configuration text `config` in `directory` until the block ends.

    `cluster` is its own cluster address followed by its peers' (`host:port`); empty turns clustering off. `patience` is
    how long the second of them waits for word that the first has sent a notification; without any both send it.
    Skips (or fails, see `components`) when Alertmanager is not installed. Raises ServerStartError.
    """
    require_component("alertmanager")
    program = binary(ALERTMANAGER_BINARIES)
    assert program is not None
    directory.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    config_file = directory / "alertmanager.yml"
    config_file.write_text(config)
    argv = [
        program,
        f"--config.file={config_file}",
        f"--storage.path={directory / 'data'}",
        f"--web.listen-address={address}",
        f"--cluster.listen-address={cluster[0] if cluster else ''}",
    ]
    if cluster:
        # The second peer joins the first at once; settling for longer would only delay readiness.
        argv += [
            f"--cluster.advertise-address={cluster[0]}",
            f"--cluster.peer-timeout={patience}",
            "--cluster.settle-timeout=2s",
        ]
        argv += [f"--cluster.peer={peer}" for peer in cluster[1:]]
    log = directory / "alertmanager.log"
    with running(argv, ready_url=f"http://{address}/-/ready", log=log) as process:
        yield Alertmanager(address=address, pid=process.pid, log=log)


@contextmanager
def alertmanager_pair(
    directory: Path, config: str, *, patience: str = "1s"
) -> Iterator[tuple[Alertmanager, Alertmanager]]:
    """Two Alertmanagers that are each other's peers on loopback."""
    first, second = (f"127.0.0.1:{free_port()}" for _ in range(2))
    with ExitStack() as stack:
        yield (
            stack.enter_context(alertmanager(directory / "first", config, cluster=(first, second), patience=patience)),
            stack.enter_context(alertmanager(directory / "second", config, cluster=(second, first), patience=patience)),
        )
