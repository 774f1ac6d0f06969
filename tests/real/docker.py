"""A real Docker engine of the tests' own: private socket, data and bridge, gone when they end."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.real import docker_reaper
from tests.real.components import require
from tests.real.process import tail

START_SECONDS = 60.0
IMAGE = "uici-test/web"
_APPLETS = (
    "sh",
    "httpd",
    "sleep",
    "cat",
    "echo",
    "wget",
    "ls",
    "kill",
    "env",
    "ps",
    "touch",
    "head",
    "dd",
    "yes",
    "false",
)
# The shell, as process 1, ends at SIGTERM although process 1 ignores what it does not handle. Of several on one
# network only one gets the port; the others run and try again.
_SERVE = """#!/bin/sh
trap 'exit 0' TERM
echo ready
echo warning >&2
[ -n "$SPOILS_AFTER" ] && (sleep "$SPOILS_AFTER"; rm -f /www/health) &
while :; do httpd -f -p "${PORT:-8080}" -h /www 2>/dev/null; sleep 0.1; done &
# See tests.contract.demands.
while [ -n "$DATA" ]; do
  [ -e "$DATA/grow" ] && rm "$DATA/grow" && leak=0123456789 && while :; do leak=$leak$leak; done
  if echo x >"$DATA/own" && rm "$DATA/own" && wget -q -O /dev/null "$NEEDS"; then echo ok >/www/health
  else rm -f /www/health; : >"$DATA/ill"; fi
  sleep 0.2 & wait $!
done
wait
"""
_VERSIONS: dict[str, tuple[dict[str, str], list[str]]] = {
    "good": ({"www/health": "ok\n"}, []),
    # Runs, and never answers /health.
    "bad": ({}, []),
    # Well for long enough to be taken for well, then like `bad`.
    "late": ({"www/health": "ok\n"}, ["ENV SPOILS_AFTER=2"]),
}


class EngineStartError(RuntimeError):
    """The message holds the end of dockerd's log."""


class DockerEngine:
    """One engine. With `url` it is somebody else's and cannot be stopped; else it is started in `directory`.

    `options` are further ones of dockerd.
    """

    def __init__(self, directory: Path | None = None, *, url: str | None = None, options: Sequence[str] = ()) -> None:
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self.url = url or f"unix://{directory}/docker.sock"

    @property
    def is_own(self) -> bool:
        """Whether it may be stopped, killed and paused."""
        return self._directory is not None

    @property
    def pid(self) -> int:
        """Of dockerd."""
        if self._process is None:
            raise RuntimeError("the engine does not run")
        return self._process.pid

    @property
    def log(self) -> Path:
        """What dockerd wrote."""
        return self._home / "dockerd.log"

    @property
    def _home(self) -> Path:
        if self._directory is None:
            raise RuntimeError(f"{self.url} is not the tests' own engine")
        return self._directory

    def __enter__(self) -> DockerEngine:
        if self.is_own:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_own:
            self.remove()

    def client(self, timeout: int = 60) -> Any:
        """A raw client of the SDK, for what tests do behind the executor's back; the caller closes it."""
        import docker

        return docker.APIClient(base_url=self.url, version="auto", timeout=timeout)

    def start(self) -> None:
        """Start dockerd and return when it answers. Raises EngineStartError."""
        home = self._home
        if self._reaper is None:
            # Tests may be killed, and an engine and its containers outlive them.
            argv = [sys.executable, docker_reaper.__file__, str(home)]
            self._reaper = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
        octet = os.getpid() % 256
        bridge = docker_reaper.bridge_of(home)
        if not Path("/sys/class/net", bridge).exists():
            subprocess.run(["ip", "link", "add", "name", bridge, "type", "bridge"], check=True)
        argv = [
            "dockerd",
            f"--data-root={home / 'data'}",
            f"--exec-root={home / 'exec'}",
            f"--pidfile={home / 'dockerd.pid'}",
            f"--host={self.url}",
            # Without one, dockerd would delete the bridge of the machine's own engine.
            f"--bridge={bridge}",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--ip-masq=false",
            # Containers outlive a stopped engine, so that tests can take the engine away from under a service.
            "--live-restore",
            "--shutdown-timeout=2",
            # Several engines on one machine must not hand out the same addresses.
            f"--default-address-pool=base=10.{octet}.0.0/16,size=24",
            *self._options,
        ]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise EngineStartError(f"dockerd did not answer on {self.url}:\n{tail(self.log)}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether it answers now."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            try:
                connection.connect(self.url.removeprefix("unix://"))
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 OK" in connection.recv(64)
            except OSError:
                return False

    def stop(self) -> None:
        """Stop dockerd in order; its containers keep running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL dockerd; its containers keep running."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP dockerd: it accepts connections and never answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused dockerd go on."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop and start it, with the same containers."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Remove all containers and networks, stop the engine and delete its data."""
        try:
            if self._process is None or self._process.poll() is not None:
                self.start()
            client = self.client()
            try:
                for container in client.containers(all=True):
                    client.remove_container(container["Id"], force=True, v=True)
                client.prune_networks()
            finally:
                client.close()
        finally:
            self.stop()
            docker_reaper.clear(self._home)
            if self._reaper is not None:
                self._reaper.communicate()
                self._reaper = None

    def make_images(self, repository: str = IMAGE) -> None:
        """Make the test service's images: `good` answers /health, `bad` never does, `late` stops after two seconds."""
        client = self.client()
        try:
            for tag, (files, changes) in _VERSIONS.items():
                answer = client.import_image_from_data(
                    _root_filesystem({**files, "www/version": f"{tag}\n"}),
                    repository=repository,
                    tag=tag,
                    changes=['CMD ["/bin/serve"]', f"ENV FROM_IMAGE={tag}", "WORKDIR /tmp", *changes],
                )
                if "error" in answer:
                    raise EngineStartError(f"cannot import an image: {answer}")
        finally:
            client.close()

    def _end(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)
        self._process = None
        self._end_containerd()

    def _end_containerd(self) -> None:
        # A killed dockerd cannot end the containerd that it started, and the next one would wait for it for ever.
        file = self._home / "exec/containerd/containerd.pid"
        with suppress(OSError, ValueError):
            pid = int(file.read_text())
            if b"containerd" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        file.unlink(missing_ok=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("the engine does not run")
        self._process.send_signal(number)


def images_digest() -> str:
    """Changes with what `make_images` would make."""
    return hashlib.sha256(repr((_SERVE, _APPLETS, _VERSIONS)).encode()).hexdigest()[:12]


def _root_filesystem(files: dict[str, str]) -> bytes:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise EngineStartError("busybox is not installed (Debian: apt-get install busybox-static)")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in ("bin", "www", "tmp", "etc", "proc", "sys", "dev", "data"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            archive.addfile(entry)
        archive.add(busybox, "bin/busybox")
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for name, text in {**files, "bin/serve": _SERVE}.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o755
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def why_no_engine() -> str | None:
    """Why no engine can be used or started here; None when one can."""
    if find_spec("docker") is None:
        return "the Docker SDK is not installed: pip install 'uici[docker]'"
    if os.environ.get("UICI_TEST_DOCKER_HOST"):
        return None
    if shutil.which("dockerd") is None:
        return "dockerd is not installed (Debian: apt-get install docker.io), and UICI_TEST_DOCKER_HOST names no engine"
    if os.geteuid() != 0:
        return "only root can start dockerd, and UICI_TEST_DOCKER_HOST names no engine"
    if shutil.which("ip") is None:
        return "ip is not installed (Debian: apt-get install iproute2)"
    if shutil.which("busybox") is None:
        return "busybox is not installed (Debian: apt-get install busybox-static)"
    return None


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """An engine with the test images, one for all tests: an own one, else the one that UICI_TEST_DOCKER_HOST names."""
    reason = why_no_engine()
    require("docker", reason is None, reason or "")
    given = os.environ.get("UICI_TEST_DOCKER_HOST")
    # A short path of its own: a unix socket's path may have 107 characters.
    directory = None if given else Path(tempfile.mkdtemp(prefix="uici-docker-"))
    engine = DockerEngine(directory, url=given)
    try:
        engine.__enter__()
    except (EngineStartError, OSError) as error:
        if directory is not None:
            docker_reaper.clear(directory)
        require("docker", False, str(error))
    try:
        engine.make_images()
        yield engine
    finally:
        engine.__exit__()
