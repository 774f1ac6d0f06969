"""A check-up of UICI itself and of its environments, beside a running service or without one. It changes nothing."""

from __future__ import annotations

import platform as machine
import resource
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import httpx

from uici.bootstrap.application import Application, state_url
from uici.bootstrap.state_checks import check_state
from uici.catalogue.diagnostics import CatalogueError
from uici.catalogue.listing import counted
from uici.catalogue.locations import config_directory, which_configuration
from uici.model.base import JsonObject
from uici.model.checkup import Check, CheckState, fail, ok, skip, warn
from uici.model.errors import unknown_environment
from uici.model.identity import SelfIdentity
from uici.model.settings import DoctorSettings
from uici.model.site import Site
from uici.runs.examining import examine, examine_council

_LEAST_SQLITE = (3, 35, 0)  # RETURNING and the upserts that the store uses: https://www.sqlite.org/changes.html
_CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_ANSWER_SECONDS = 3.0


def check_up(config: Path | None, state: str | None, environment: str | None) -> JsonObject:
    """Every check of UICI itself and of each environment, or of the one that is named.

    Raises Problem for an environment that does not exist.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="uici-doctor-") as folder:
            # Over an empty state: the configured one is only looked at.
            application = Application(config, state, scratch=Path(folder))
            try:
                found = _all(application, config_directory(config), state, environment)
            finally:
                application.platforms.close()
                application.store.close()
    except CatalogueError as error:
        problems = len(error.diagnostics)
        broken = fail("configuration", f"{problems} problems, first: {error.diagnostics[0]}", "`uici check` shows them")
        found = [("uici", broken), *(("uici", check) for check in _machine(DoctorSettings()))]
    return {
        "ok": not any(check.state is CheckState.FAIL for _, check in found),
        "checks": [{"of": of, **check.model_dump(mode="json")} for of, check in found],
    }


def _all(
    application: Application, folder: Path | None, state: str | None, environment: str | None
) -> list[tuple[str, Check]]:
    site = application.site
    url = state_url(state, site, folder)
    if environment is not None and environment not in site.environments:
        raise unknown_environment(environment, site.environments, "--environment")
    own = [
        ok("configuration", f"{which_configuration(folder)} is good: {counted(site)}"),
        *_machine(site.platform.doctor),
    ]
    own += [*check_state(url, site.platform.doctor), _listening(site), _identity(application.services.identity)]
    own.append(examine_council(application.services))
    found = [("uici", check) for check in own]
    inhabited = [environment] if environment is not None else _inhabited(site)
    for name in inhabited:
        found += [(name, check) for check in examine(application.services, name)]
    if environment is None:
        found += [(name, _unasked(name)) for name in site.environments if name not in inhabited]
    return found


def _unasked(name: str) -> Check:
    seen = f"not asked: no target lives here; `uici doctor --environment {name}` tries it"
    return skip("connection", seen)


def _inhabited(site: Site) -> list[str]:
    """The default environment, and those where targets live."""
    used = {name for target in site.targets.values() for name in target.bindings}
    return [name for name in site.environments if name in used or name == site.default_environment]


def _machine(limits: DoctorSettings) -> Iterator[Check]:
    yield ok("versions", f"uici {version('uici')}, Python {machine.python_version()}, DBOS {version('dbos')}")
    if sqlite3.sqlite_version_info < _LEAST_SQLITE:
        least = ".".join(map(str, _LEAST_SQLITE))
        yield fail("SQLite", sqlite3.sqlite_version, f"use a Python whose SQLite is {least} or newer")
    else:
        yield ok("SQLite", sqlite3.sqlite_version)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < limits.file_descriptors:
        yield warn("file descriptors", f"{soft} may be open, {hard} at most", "raise LimitNOFILE of the unit")
    else:
        yield ok("file descriptors", f"{soft} may be open")
    source = _CLOCK_SOURCE.read_text().strip() if _CLOCK_SOURCE.is_file() else "unknown"
    yield ok("clock", f"time zone {time.tzname[time.localtime().tm_isdst > 0]}, clock source {source}; UTC is stored")


def _listening(site: Site) -> Check:
    listen = site.platform.service.listen
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    asked = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound
    try:
        socket.create_connection((asked, int(port)), timeout=_ANSWER_SECONDS).close()
    except ConnectionRefusedError:
        return ok("listen address", f"{listen} is free; `uici serve` does not run here")
    except OSError as error:
        return warn("listen address", f"{listen}: {error.strerror or error}", "is it an address of this machine?")
    shown = f"[{asked}]" if ":" in asked else asked
    try:
        answer = httpx.get(f"http://{shown}:{port}/readyz", timeout=_ANSWER_SECONDS, trust_env=False)
        checks = answer.json()["checks"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return fail("listen address", f"something else listens on {listen}", "end it, or change service.listen")
    if answer.is_success:
        return ok("listen address", f"UICI serves on {listen} and is ready")
    wrong = "; ".join(f"{each['name']}: {each['detail']}" for each in checks if not each["ok"])
    return fail("listen address", f"UICI serves on {listen} and is not ready: {wrong}", "see its log")


def _identity(identity: SelfIdentity) -> Check:
    known = {
        "names": identity.names, "containers": identity.containers, "pods": identity.pods,
        "inside": identity.containing,
    }  # fmt: skip
    told = ", ".join(f"{name} {', '.join(sorted(values))}" for name, values in known.items() if values)
    return ok("self", f"UICI never acts on {told or 'its own process'} (found from {sys.platform})")
