"""Images of real servers, made of this machine's own Debian programs and the libraries that they need."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.real.components import (
    HAPROXY_BINARIES,
    NGINX_BINARIES,
    REDIS_BINARIES,
    binary,
    postgres_programs,
    require_component,
)
from tests.real.docker import DockerEngine, EngineStartError

_LIBRARY = re.compile(r"(/[^\s()]+)")
_FOLDERS = ("tmp", "run", "proc", "sys", "dev", "etc", "data", "var/log/nginx", "var/lib/nginx", "var/tmp")
_PASSWD = "root:x:0:0::/:/bin/sh\npostgres:x:70:70::/data:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
NGINX_CONF = """
worker_processes 1;
pid /run/nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f;
  uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
  server { listen 127.0.0.1:8080; location / { return 200 "first\\n"; } }
}
"""
HAPROXY_CONF = """
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend web
  bind 127.0.0.1:8080
  http-request return status 200 content-type text/plain string first
"""


def redis_image(engine: DockerEngine) -> str:
    """An image that runs Redis with four databases on loopback. Skips without Redis."""
    require_component("redis")
    server = binary(REDIS_BINARIES)
    client = binary(("redis-cli",))
    assert server is not None
    assert client is not None
    links = {"/bin/redis-server": server, "/bin/redis-cli": client}
    command = ["/bin/redis-server", "--save", "", "--databases", "4", "--dir", "/tmp"]
    return _image(engine, "uici-test/redis", _root(links), command)


def nginx_image(engine: DockerEngine) -> str:
    """An image that runs nginx on loopback. Skips without nginx."""
    require_component("nginx")
    server = binary(NGINX_BINARIES)
    assert server is not None
    files = {"etc/nginx/nginx.conf": NGINX_CONF, "etc/group": "root:x:0:\nnogroup:x:65534:\n"}
    return _image(
        engine, "uici-test/nginx", _root({"/bin/nginx": server}, files), ["/bin/nginx", "-g", "daemon off; user root;"]
    )


def haproxy_image(engine: DockerEngine) -> str:
    """An image that runs HAProxy on loopback as master and workers. Skips without HAProxy."""
    require_component("haproxy")
    server = binary(HAPROXY_BINARIES)
    assert server is not None
    files = {"usr/local/etc/haproxy/haproxy.cfg": HAPROXY_CONF}
    command = ["/bin/haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
    return _image(engine, "uici-test/haproxy", _root({"/bin/haproxy": server}, files), command)


def postgres_image(engine: DockerEngine) -> str:
    """An image that makes a cluster at its start and runs PostgreSQL on a unix socket. Skips without PostgreSQL."""
    require_component("postgres")
    programs = postgres_programs()
    assert programs is not None
    names = ("postgres", "initdb", "psql")
    links = {f"/bin/{name}": str(programs / name) for name in names}
    trees = [programs.parent, Path("/usr/share/postgresql") / programs.parent.name, Path("/usr/share/zoneinfo/Etc")]
    serve = (
        "initdb -D /data/c -U postgres --auth=trust --no-sync --locale=C -E UTF8 >/dev/null && "
        "exec postgres -D /data/c -c listen_addresses= -c fsync=off -c unix_socket_directories=/var/run/postgresql"
    )
    return _image(
        engine,
        "uici-test/postgres",
        _root(links, {"bin/serve": f"#!/bin/sh\n{serve}\n"}, trees, ("var/run/postgresql",)),
        ["/bin/serve"],
        ("USER 70",),
    )


def _image(engine: DockerEngine, name: str, root: bytes, command: list[str], changes: Iterable[str] = ()) -> str:
    shown = ", ".join(f'"{word}"' for word in command)
    client = engine.client()
    try:
        answer = client.import_image_from_data(
            root, repository=name, tag="real", changes=[f"CMD [{shown}]", "ENV PATH=/bin", *changes]
        )
        if "error" in answer:
            raise EngineStartError(f"cannot import {name}: {answer}")
    finally:
        client.close()
    return f"{name}:real"


def _root(
    programs: Mapping[str, str],
    files: Mapping[str, str] | None = None,
    trees: Iterable[Path] = (),
    folders: Iterable[str] = (),
) -> bytes:
    """A root filesystem with `programs` (path in the image -> path here), busybox' shell, and what all of them need."""
    busybox = binary(("busybox",))
    assert busybox is not None
    wanted = {Path(path) for path in programs.values()}
    for tree in trees:
        wanted |= {path for path in tree.rglob("*") if path.is_file()}
    libraries = {library for path in wanted if _is_program(path) for library in _libraries(path)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        for folder in (*_FOLDERS, *folders):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(entry)
        for path in sorted(wanted | libraries):
            archive.add(path.resolve(), str(path), recursive=False)
        archive.add(busybox, "bin/busybox")
        for applet in ("sh", "cat", "sleep", "echo", "ls", "id", "wget", "kill", "env", "touch", "mv"):
            _link(archive, f"bin/{applet}", "busybox")
        for place, source in programs.items():
            _link(archive, place.lstrip("/"), source)
        for name, text in {"etc/passwd": _PASSWD, **(files or {})}.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o755
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _link(archive: tarfile.TarFile, name: str, to: str) -> None:
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, to
    archive.addfile(link)


def _is_program(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _libraries(program: Path) -> set[Path]:
    """What the dynamic loader would load, the loader itself included."""
    said = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    return {Path(found) for found in _LIBRARY.findall(said) if Path(found).is_file()}
