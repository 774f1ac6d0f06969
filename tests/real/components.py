"""Which real components are here, and what a test does without one.

A test that needs one is marked `@pytest.mark.component("docker")`, or a fixture calls `require`. Without the
component the test is skipped with the reason; when the environment variable `UICI_REQUIRE` names it (a comma
separated list, set by CI) it fails instead, so that nothing can be skipped by accident.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROMETHEUS_BINARIES = ("prometheus",)
# Debian prefixes Alertmanager's binary; upstream's archive does not.
ALERTMANAGER_BINARIES = ("prometheus-alertmanager", "alertmanager")
HAPROXY_BINARIES = ("haproxy",)
REDIS_BINARIES = ("redis-server",)
REDIS_EXPORTER_BINARIES = ("prometheus-redis-exporter", "redis_exporter")
NGINX_BINARIES = ("nginx",)

_handed_out: set[int] = set()
_SHARES = 8


def required() -> frozenset[str]:
    """Names of the components whose absence is a failure."""
    return frozenset(name.strip() for name in os.environ.get("UICI_REQUIRE", "").split(",") if name.strip())


def require(name: str, available: bool, reason: str) -> None:
    """Go on when `available`; else skip with `reason`, or fail when `UICI_REQUIRE` names the component."""
    if available:
        return
    if name in required():
        pytest.fail(f"component {name} is required by UICI_REQUIRE but not here: {reason}", pytrace=False)
    pytest.skip(f"component {name}: {reason}")


def binary(names: tuple[str, ...]) -> str | None:
    """Path of the first of `names` that is installed."""
    # Debian keeps servers where only root's shell looks.
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    for name in names:
        found = shutil.which(name, path=path)
        if found is not None:
            return found
    return None


def shared_folder() -> Path | None:
    """The folder of material shared between checkouts (captured payloads): `UICI_SHARED`, else `../shared`."""
    named = os.environ.get("UICI_SHARED")
    folder = Path(named) if named else REPOSITORY.parent / "shared"
    return folder if folder.is_dir() else None


def payloads_folder() -> Path | None:
    """Captured Alertmanager notifications, as `*.json` with their `*.headers`; None when not here."""
    shared = shared_folder()
    folder = None if shared is None else shared / "payloads"
    return folder if folder is not None and folder.is_dir() else None


def _without_docker() -> str | None:
    from tests.real.docker import why_no_engine  # here, because that module needs this one

    return why_no_engine()


def _without_kubernetes() -> str | None:
    from tests.real.kubernetes import why_no_cluster  # here, because that module needs this one

    return why_no_cluster()


def control_plane_programs() -> Path | None:
    """The folder of etcd and kube-apiserver; None when they are not here.

    `KUBEBUILDER_ASSETS`, as envtest has it; else where a cluster of tests has unpacked them; else the PATH's.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    installed = shutil.which("kube-apiserver")
    for folder in (
        os.environ.get("KUBEBUILDER_ASSETS"),
        f"{cache}/uici-kubernetes/bin",
        os.path.dirname(installed) if installed else None,
    ):
        if folder and all(os.access(Path(folder, name), os.X_OK) for name in ("etcd", "kube-apiserver")):
            return Path(folder)
    return None


def _without_control_plane() -> str | None:
    if control_plane_programs() is None:
        return "no etcd and kube-apiserver; set KUBEBUILDER_ASSETS to their folder (setup-envtest use -p path)"
    return None if shutil.which("kubectl") else "kubectl is not installed"


def _without_prometheus() -> str | None:
    return None if binary(PROMETHEUS_BINARIES) else "not installed (Debian: apt-get install prometheus)"


def _without_alertmanager() -> str | None:
    return None if binary(ALERTMANAGER_BINARIES) else "not installed (Debian: apt-get install prometheus-alertmanager)"


def _without_haproxy() -> str | None:
    return None if binary(HAPROXY_BINARIES) else "not installed (Debian: apt-get install haproxy)"


def _without_redis() -> str | None:
    return None if binary(REDIS_BINARIES) else "not installed (Debian: apt-get install redis-server)"


def _without_redis_exporter() -> str | None:
    if binary(REDIS_EXPORTER_BINARIES):
        return None
    return "not installed (Debian: apt-get install prometheus-redis-exporter)"


def _without_nginx() -> str | None:
    return None if binary(NGINX_BINARIES) else "not installed (Debian: apt-get install nginx-light)"


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's own programs, the newest version's; Debian keeps each version in its own."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def _without_postgres() -> str | None:
    return None if postgres_programs() else "not installed (Debian: apt-get install postgresql)"


def _without_payloads() -> str | None:
    return None if payloads_folder() else "no folder `payloads` under UICI_SHARED or ../shared"


def _without_ssh() -> str | None:
    needed = ("ssh", "sshd", "ssh-keygen", "openssl", "docker")
    missing = [name for name in needed if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: apt-get install openssh-server openssl docker.io)"
    return None if os.geteuid() == 0 else "only root can start sshd for another session"


def _without_tmpfs() -> str | None:
    """A file system that a test may fill up: only who may mount one can make it."""
    if os.geteuid() != 0:
        return "only root can mount a file system to fill up"
    with tempfile.TemporaryDirectory(prefix="uici-tmpfs-") as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "uici-test", folder], capture_output=True, text=True, check=False
        )
        if mounted.returncode:
            return f"no tmpfs can be mounted: {mounted.stderr.strip()}"
        subprocess.run(["umount", folder], check=True)
    return None


def _without_faketime() -> str | None:
    return None if faketime_library() else "not installed (Debian: apt-get install faketime)"


def faketime_library() -> Path | None:
    """libfaketime for programs with threads; None when it is not here."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def _without_vllm() -> str | None:
    from tests.real.vllm import programs  # here, because that module needs this one

    return None if programs() else "not installed; UICI_TEST_VLLM names an environment's bin folder (make test-vllm)"


PROBES: dict[str, Callable[[], str | None]] = {
    "docker": _without_docker,
    "kubernetes": _without_kubernetes,
    "control-plane": _without_control_plane,
    "prometheus": _without_prometheus,
    "alertmanager": _without_alertmanager,
    "payloads": _without_payloads,
    "haproxy": _without_haproxy,
    "redis": _without_redis,
    "redis-exporter": _without_redis_exporter,
    "nginx": _without_nginx,
    "postgres": _without_postgres,
    "ssh": _without_ssh,
    "tmpfs": _without_tmpfs,
    "faketime": _without_faketime,
    "vllm": _without_vllm,
}
"""Component -> a look that returns why it is not here, or None. Starting it, loudly, is its fixture's part."""


def require_component(name: str) -> None:
    """`require` for a component by name. Raises KeyError's message as a failure for a name without a probe."""
    if name not in PROBES:
        pytest.fail(f"unknown component {name!r}; known are {', '.join(sorted(PROBES))}", pytrace=False)
    reason = PROBES[name]()
    require(name, reason is None, reason or "")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on, never given twice by this run of the tests.

    Taken from below the kernel's ephemeral range, so that no outgoing connection can take it before its server does,
    and from this worker's own share of it, so that no other worker can.
    """
    first = 18_000 + worker() % _SHARES * (14_000 // _SHARES)
    for _ in range(1000):
        port = random.randrange(first, first + 14_000 // _SHARES)
        if port in _handed_out:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _handed_out.add(port)
        return port
    raise RuntimeError(f"no free port of 127.0.0.1 from {first} on")


def worker() -> int:
    """Which of the processes that share the tests this is; 0 when there is only one."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
