"""A real HAProxy on free ports of loopback, in front of servers that a test gives it."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.real.components import HAPROXY_BINARIES, binary, free_port, require_component
from tests.real.process import running
from uici.model.base import JsonObject


@dataclass(frozen=True)
class HAProxy:
    """A running HAProxy with one frontend and one backend, `web`."""

    url: str
    """Of the frontend, without a final slash."""
    runtime: str
    """The address of its runtime API with every permission, as a binding has it."""
    runtime_tcp: str
    runtime_user: str
    """The same for somebody who may only look."""
    pid: int

    def binding(self, server: str, **more: object) -> JsonObject:
        """A binding's `backend`."""
        return {"haproxy": self.runtime, "backend": "web", "server": server, **more}

    def ask(self, command: str) -> str:
        """What the runtime API answers, behind the executor's back."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(self.runtime.removeprefix("unix:"))
            connection.sendall(f"{command}\n".encode())
            answer = b""
            while part := connection.recv(65536):
                answer += part
        return answer.decode()

    def admin_state(self, server: str) -> int:
        """The bits of a server's administrative state."""
        rows = [line.split() for line in self.ask("show servers state web").splitlines()]
        return next(int(row[6]) for row in rows if len(row) > 6 and row[3] == server)

    def settings(self) -> list[list[str]]:
        """What is set of every server; operational state, health checks and times are not."""
        said = self.ask("show servers state web")
        return [
            line.split()[3:5] + line.split()[6:9] for line in said.splitlines() if line[:1].isdigit() and " " in line
        ]


@contextmanager
def haproxy(
    directory: Path, servers: Mapping[str, str], *, options: str = "check inter 100ms", backend: str = ""
) -> Iterator[HAProxy]:
    """Run HAProxy in `directory` in front of `servers` (name -> host:port) until the block ends.

    `options` stand with each server, `backend` in their section.

    Skips (or fails, see `components`) when HAProxy is not installed. Raises ServerStartError.
    """
    require_component("haproxy")
    program = binary(HAPROXY_BINARIES)
    assert program is not None
    directory.mkdir(parents=True, exist_ok=True)
    front, runtime_port = free_port(), free_port()
    admin, user = directory / "admin.sock", directory / "user.sock"
    configuration = directory / "haproxy.cfg"
    lines = "\n".join(f"  server {name} {address} {options}" for name, address in servers.items())
    configuration.write_text(
        "global\n"
        f"  stats socket {admin} level admin\n"
        f"  stats socket {user} level user\n"
        f"  stats socket ipv4@127.0.0.1:{runtime_port} level admin\n"
        "defaults\n  mode http\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n"
        f"frontend in\n  bind 127.0.0.1:{front}\n  monitor-uri /haproxy-is-ready\n  default_backend web\n"
        f"backend web\n  balance roundrobin\n{backend and f'  {backend}{chr(10)}'}{lines}\n"
    )
    url = f"http://127.0.0.1:{front}"
    argv = [program, "-db", "-f", str(configuration)]
    with running(argv, ready_url=f"{url}/haproxy-is-ready", log=directory / "haproxy.log") as process:
        yield HAProxy(url, f"unix:{admin}", f"127.0.0.1:{runtime_port}", f"unix:{user}", process.pid)
