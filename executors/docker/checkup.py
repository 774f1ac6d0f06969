"""What can be told of an engine by looking: its version, whether it may be used, how safe the way to it is."""

from __future__ import annotations

import os
import stat
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from executors.docker.connection import DockerSettings
from executors.docker.engine import LEAST_API, NEWEST_API, Engine
from uici.model.call import CallError
from uici.model.checkup import Check, fail, ok, warn
from uici.ports import ConnectionReport

_ADVICE = {
    "docker_sdk_missing": "pip install 'uici[docker]'",
    "docker_unreachable": "start the engine, or correct connection.base_url in environments.yml",
}


def report(engine: Engine) -> ConnectionReport:
    """Ask the engine. Never raises."""
    settings = engine.settings
    way = (*_permission(settings), *_safety(settings))
    try:
        engine.get(("_ping",))
        version: dict[str, Any] = engine.get(("version",)).json() or {}
        info: dict[str, Any] = engine.get(("info",)).json() or {}
        spoken = engine.api_version()
    except CallError as error:
        told = fail("engine", error.message, _ADVICE.get(error.code, "see what was seen; nothing can be healed here"))
        return ConnectionReport(ok=False, detail=error.message, checks=(told, *way))
    answers = f"{engine.where} answers, API {version.get('ApiVersion', '?')}"
    return ConnectionReport(
        ok=True,
        detail=answers,
        version=str(version.get("Version", "")),
        at=_time(str(info.get("SystemTime") or "")),
        checks=(ok("engine", answers), _version(version, spoken), *way),
    )


def _version(said: dict[str, Any], spoken: tuple[int, int]) -> Check:
    name, now = "engine version", ".".join(map(str, spoken))
    seen = f"Docker {said.get('Version', '?')}, API {now} is spoken, {LEAST_API} to {NEWEST_API} are supported"
    least, newest = (tuple(map(int, each.split("."))) for each in (LEAST_API, NEWEST_API))
    if spoken < least:
        return fail(name, seen, "update the engine: version 18.09 or newer")
    if spoken > newest:
        return warn(name, seen, "update UICI: this engine no longer speaks what this version was written for")
    return ok(name, seen)


def _permission(settings: DockerSettings) -> tuple[Check, ...]:
    """Whether the socket may be written, which is what every change needs."""
    if settings.scheme != "unix":
        return ()
    path = urlsplit(settings.base_url).path
    try:
        found = os.stat(path)
    except OSError as error:
        return (fail("engine socket", f"{path}: {error.strerror}", "start the engine, or correct base_url"),)
    seen = f"{path} belongs to user {found.st_uid}, group {found.st_gid}, mode {stat.S_IMODE(found.st_mode):04o}"
    if not stat.S_ISSOCK(found.st_mode):
        return (fail("engine socket", f"{path} is no socket", "correct base_url"),)
    if os.access(path, os.R_OK | os.W_OK):
        return (ok("engine socket", f"{seen}; UICI may write to it"),)
    advice = f"run UICI in the group {found.st_gid} (`usermod -aG docker USER`), which is as much as root on this host"
    return (fail("engine socket", f"{seen}; UICI, user {os.geteuid()}, may not write to it", advice),)


def _safety(settings: DockerSettings) -> tuple[Check, ...]:
    name = "way to the engine"
    if settings.tls is not None and not settings.tls.verify:
        return (warn(name, "TLS without verification: any machine may answer", "set tls.ca, verify: true"),)
    if settings.uses_tls:
        return (ok(name, "TLS, verified"),)
    if settings.scheme in ("tcp", "http"):
        where = "on this machine" if settings.is_loopback else "to another machine"
        return (warn(name, f"plain TCP {where}: whoever can connect owns the host", "use tls, or ssh://"),)
    return (ok(name, "ssh, to a host whose key is known"),) if settings.scheme == "ssh" else ()


def _time(text: str) -> datetime | None:
    # The engine gives nanoseconds, which the standard library does not read.
    whole, dot, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    try:
        return datetime.fromisoformat(whole + (f".{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}" if dot else ""))
    except ValueError:
        return None
