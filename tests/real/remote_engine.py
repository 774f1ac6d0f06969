"""A real engine that is reached as on another machine: by TLS with certificates of both sides, and through an sshd."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real import docker_reaper
from tests.real.components import free_port, require_component
from tests.real.docker import DockerEngine
from tests.real.remote import Authority, Pair, SshServer


class RemoteEngine:
    """The engine, its authority, its certificates and its sshd."""

    def __init__(self, folder: Path, engine_folder: Path) -> None:
        self.authority = Authority(folder / "ca")
        self.client = self.authority.issue("client")
        server = self.authority.issue("server", host="IP:127.0.0.1")
        self.port = free_port()
        self.ssh = SshServer(folder / "ssh")
        self.engine = DockerEngine(
            engine_folder,
            options=(
                f"--host=tcp://127.0.0.1:{self.port}",
                "--tlsverify",
                f"--tlscacert={self.authority.file}",
                f"--tlscert={server.certificate}",
                f"--tlskey={server.key}",
            ),
        )

    def over_tls(self, pair: Pair | None = None, **more: Any) -> dict[str, Any]:
        """A connection by TLS."""
        pair = pair or self.client
        tls = {"ca": self.authority.file, "certificate": str(pair.certificate), "key": str(pair.key)} | more
        return {"base_url": f"tcp://127.0.0.1:{self.port}", "tls": tls}

    def over_ssh(self, **more: Any) -> dict[str, Any]:
        """A connection through ssh."""
        place = self.engine.url.removeprefix("unix://")
        return {"base_url": f"{self.ssh.url}{place}", "ssh": self.ssh.settings | more}


@pytest.fixture(scope="session")
def remote_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteEngine]:
    """One for all tests of remote engines, with the test images."""
    require_component("docker")
    require_component("ssh")
    # A short path of its own: a unix socket's path may have 107 characters.
    directory = Path(tempfile.mkdtemp(prefix="uici-remote-"))
    remote = RemoteEngine(tmp_path_factory.mktemp("remote"), directory)
    try:
        remote.ssh.start()
        with remote.engine:
            remote.engine.make_images()
            yield remote
    finally:
        remote.ssh.stop()
        docker_reaper.clear(directory)
