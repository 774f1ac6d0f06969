"""What can be told of a supervisor by looking: whether it answers, whose it is, and whether its folder may be used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from executors.local.program import ProgramFiles
from executors.local.settings import LocalSettings
from executors.local.supervisor import Supervisor
from uici.model.call import CallError
from uici.model.checkup import Check, fail, ok
from uici.ports import ConnectionReport


def report(open_: Callable[[], tuple[ProgramFiles, Supervisor]], settings: LocalSettings) -> ConnectionReport:
    """Ask the supervisor. Never raises; starts nothing."""
    try:
        _, supervisor = open_()
    except CallError as error:
        told = fail("supervisor", error.message, "correct connection.directory in environments.yml")
        return ConnectionReport(ok=False, detail=error.message, checks=(told,))
    folder = _folder(supervisor.root)
    try:
        version = str(supervisor.call("supervisor.getSupervisorVersion"))
    except CallError as error:
        if error.code == "supervisor_unreachable" and settings.manage:
            idle = "supervisord is not running; it is started when it is needed"
            return ConnectionReport(ok=True, detail=idle, checks=(ok("supervisor", idle), folder))
        told = fail("supervisor", error.message, "start it, or let UICI do so (manage: true)")
        return ConnectionReport(ok=False, detail=error.message, checks=(told, folder))
    answers = f"supervisord answers at {supervisor.socket}"
    return ConnectionReport(
        ok=True,
        detail=answers,
        version=version,
        checks=(ok("supervisor", f"{answers}, version {version}"), _owner(supervisor.socket), folder),
    )


def _owner(socket: Path) -> Check:
    name, owner, own = "supervisor socket", socket.stat().st_uid, os.geteuid()
    seen = f"{socket} belongs to user {owner}, UICI is user {own}"
    if owner in (own, 0) or own == 0:
        return ok(name, seen)
    return fail(name, seen, "another user could answer in its place: run both as one user, or name another directory")


def _folder(root: Path) -> Check:
    """Whether supervisord's files may be written, in the folder or, before the first start, where it will be made."""
    existing = next(each for each in (root, *root.parents) if each.exists())
    if os.access(existing, os.W_OK | os.X_OK):
        return ok("supervisor folder", f"{root} may be written")
    return fail("supervisor folder", f"{existing} may not be written", f"let user {os.geteuid()} write to it")
