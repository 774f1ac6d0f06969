"""Finding out what UICI itself is: its process, container, pod, supervisor's program, and what contains them."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import psutil
import sqlalchemy

from uici.model.identity import SelfIdentity
from uici.store.database import parsed_url

_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
_OWN_MOUNTS = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
_POSTGRES_PORT = 5432
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def discover(names: tuple[str, ...], state: str) -> SelfIdentity:
    """The identity of this process; `names` are what the site calls UICI, `state` is the URL of its state."""
    where = parsed_url(state)
    file = where.database if where.get_backend_name() == "sqlite" else None
    servers = _servers(where) if file is None else []
    # In a project of containers a server is called as its container is.
    own = {name.lower() for name in (*names, *(host for host, _ in servers if _is_simple(host)))}
    containing: set[str] = set()
    pods: set[str] = set()
    containers = _containers()
    if containers:
        own |= {*containers, *(id_[:12] for id_ in containers), socket.gethostname().lower()}
    if _POD_NAMESPACE.exists():
        namespace = _POD_NAMESPACE.read_text().strip()
        pod = os.environ.get("POD_NAME") or socket.gethostname()
        pods.add(f"{namespace}/{pod}")
        own.add(pod.lower())
        containing.add(namespace)
        if node := os.environ.get("NODE_NAME"):
            containing.add(node)
    # Set by supervisord for its children: http://supervisord.org/subprocess.html#subprocess-environment
    for variable in ("SUPERVISOR_PROCESS_NAME", "SUPERVISOR_GROUP_NAME"):
        if value := os.environ.get(variable):
            own.add(value.lower())
    if url := os.environ.get("SUPERVISOR_SERVER_URL"):
        containing.add(url)
    if project := os.environ.get("COMPOSE_PROJECT_NAME"):
        containing.add(project)
    process = psutil.Process()
    return SelfIdentity(
        pids=frozenset({process.pid}),
        names=frozenset(own),
        containers=containers,
        pods=frozenset(pods),
        ancestors=frozenset(parent.pid for parent in process.parents()),
        containing=frozenset(containing),
        state_paths=frozenset({str(Path(file).absolute())} if file else ()),
        state_addresses=frozenset(address for server in servers for address in _addresses(*server)),
    )


def _servers(url: sqlalchemy.URL) -> list[tuple[str, int]]:
    """Host and port of each server that may hold the state."""
    several = url.query.get("host", ())
    given = [several] if isinstance(several, str) else list(several)
    found = [(host, port) for host, _, port in (text.partition(":") for text in given)]
    found += [(url.host, str(url.port or ""))] if url.host else []
    return [(host.lower(), int(port or _POSTGRES_PORT)) for host, port in found if host]


def _is_simple(host: str) -> bool:
    """Whether it is a name without a domain, of another machine or container."""
    return host not in _LOOPBACK and re.fullmatch(r"[a-z0-9_-]*[a-z_-][a-z0-9_-]*", host) is not None


def _addresses(host: str, port: int) -> set[str]:
    return {f"{name}:{port}" for name in (_LOOPBACK if host in _LOOPBACK else (host,))}


def _containers() -> frozenset[str]:
    """Ids of the container we are in: from our control group, or from the mounts every container engine makes for it.

    Other mounts do not count: a host that runs containers has theirs in its own table.
    """
    found: set[str] = set()
    for line in _lines("/proc/self/cgroup"):
        found.update(_CONTAINER_ID.findall(line))
    for line in _lines("/proc/self/mountinfo"):
        fields = line.split()
        # Fields: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
        if len(fields) > 4 and fields[4] in _OWN_MOUNTS:
            found.update(_CONTAINER_ID.findall(fields[3]))
    return frozenset(found)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        # Not Linux, or not allowed to look: then there is no container to be found this way.
        return []
