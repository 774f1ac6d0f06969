"""What a simulated machine answers to the few commands that it understands; no command is ever run.

More can be taught as data: the fact `commands` is a list of `{pattern, output, code, cures}`, asked first.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from executors.oci.simulator import workloads
from executors.oci.simulator.state import Resource

if TYPE_CHECKING:
    from executors.oci.simulator.cloud import Cloud

_NOT_FOUND = 127
_DELETING = {"rm", "find", "truncate", "logrotate"}


def run(cloud: Cloud, machine: Resource, text: str) -> tuple[int, str]:
    """Exit code and output of the last command in `text`; earlier ones only have their effect."""
    code, output = 0, ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        code, output = _one(cloud, machine, line.strip())
    return code, output


def _one(cloud: Cloud, machine: Resource, line: str) -> tuple[int, str]:
    for taught in cloud.state.fact("commands") or []:
        if fnmatchcase(line, taught["pattern"]):
            if taught.get("cures"):
                workloads.heal(machine, *taught["cures"])
            return int(taught.get("code", 0)), str(taught.get("output", ""))
    try:
        words = [word for word in shlex.split(line) if word != "sudo"]
    except ValueError as error:
        return 2, f"syntax error: {error}\n"
    known = _KNOWN.get(words[0]) if words else None
    if known is None:
        return _NOT_FOUND, f"{words[0] if words else line}: command not found\n"
    return known(cloud, machine, words)


Known = Callable[["Cloud", Resource, Sequence[str]], tuple[int, str]]


def _echo(cloud: Cloud, machine: Resource, words: Sequence[str]) -> tuple[int, str]:
    return 0, " ".join(words[1:]) + "\n"


def _df(cloud: Cloud, machine: Resource, words: Sequence[str]) -> tuple[int, str]:
    used = 100 if workloads.condition(cloud, machine) == "disk_full" else 41
    head = "Filesystem 1024-blocks Used Available Capacity Mounted on\n"
    return 0, f"{head}/dev/sda3 38300000 {383000 * used} {383000 * (100 - used)} {used}% /\n"


def _delete(cloud: Cloud, machine: Resource, words: Sequence[str]) -> tuple[int, str]:
    workloads.heal(machine, "disk_full")
    return 0, ""


def _journal(cloud: Cloud, machine: Resource, words: Sequence[str]) -> tuple[int, str]:
    if any(word.startswith("--vacuum") for word in words):
        return _delete(cloud, machine, words)
    return 0, "".join(f"{line}\n" for line in machine.hidden.get("log", []))


def _systemctl(cloud: Cloud, machine: Resource, words: Sequence[str]) -> tuple[int, str]:
    verb = words[1] if len(words) > 1 else ""
    running = workloads.is_running(machine)
    if verb == "is-active":
        return (0, "active\n") if running else (3, "inactive\n")
    if verb in {"stop", "restart"} and running:
        workloads.end(cloud, machine, 0)
    if verb in {"start", "restart"} and not workloads.is_running(machine):
        workloads.begin(cloud, machine)
    known = verb in {"start", "stop", "restart", "status"}
    return (0, "") if known else (1, f"Unknown command verb {verb}.\n")


def _free(cloud: Cloud, machine: Resource, words: Sequence[str]) -> tuple[int, str]:
    total = int(1024 * float(machine.wire.get("shapeConfig", {}).get("memoryInGBs") or 16))
    return 0, f"       total used free\nMem: {total} {total // 3} {total - total // 3}\n"


_KNOWN: dict[str, Known] = {
    "echo": _echo,
    "df": _df,
    "journalctl": _journal,
    "systemctl": _systemctl,
    "free": _free,
    **dict.fromkeys(_DELETING, _delete),
}
