"""The executor's layer of the self-target guard on the platform `local`: what a call resolves to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from executors.local.selfguard import SelfGuard
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind
from uici.model.identity import SelfGuardLayers, SelfIdentity

ONLY_EXECUTOR = SelfGuardLayers(intake=False, planning=False, translation=False)
NOT_EXECUTOR = SelfGuardLayers(executor=False)
METHODS_ABOUT_ONE_GROUP = [
    f"supervisor.{method}"
    for method in (
        *("startProcess", "startProcessGroup", "stopProcess", "stopProcessGroup", "signalProcess"),
        *("signalProcessGroup", "addProcessGroup", "removeProcessGroup", "clearProcessLog", "clearProcessLogs"),
        "sendProcessStdin",
    )
]
SOCKET = "/run/other.sock"
OWN = SelfIdentity(names=frozenset({"uici"}), containing=frozenset({"/Run/Own.sock"}), ancestors=frozenset({4_000_001}))


@pytest.fixture(scope="module")
def stranger() -> Iterator[int]:
    """The id of a process that neither is this one nor contains it."""
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid


def guard(identity: SelfIdentity = OWN, layers: SelfGuardLayers = ONLY_EXECUTOR) -> SelfGuard:
    return SelfGuard(lambda: identity, layers)


def refused(why: str, check: Any, *arguments: Any) -> None:
    with pytest.raises(CallError, match=why) as caught:
        check(*arguments)
    assert (caught.value.kind, caught.value.code) == (FailureKind.PERMANENT, "self_target")


def process(name: str, pid: int = 0, group: str | None = None) -> JsonObject:
    return {"name": name, "group": group or name, "pid": pid}


# --- programs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "instances", "why"), [("uici", (), "'uici' is UICI itself"), ("web", ("web-0", "UICI"), "'UICI' is")]
)
def test_a_program_is_uici_by_name_or_by_an_instances_name(program: str, instances: tuple[str, ...], why: str) -> None:
    refused(why, guard().check_program, program, instances, ())
    guard(layers=NOT_EXECUTOR).check_program(program, instances, ())


def test_a_program_is_uici_by_any_of_its_processes(stranger: int) -> None:
    refused("which is UICI itself", guard().check_program, "web", (), (stranger, os.getpid()))
    refused(
        "which is UICI itself", guard(SelfIdentity(pids=frozenset({stranger}))).check_program, "web", (), (stranger,)
    )
    guard().check_program("web", ("web-0",), (stranger,))


def test_what_contains_uici_is_refused(stranger: int) -> None:
    refused("which contains UICI", guard().check_program, "web", (), (4_000_001,))
    refused("which contains UICI", guard().check_program, "web", (), (os.getppid(),))
    if os.getpgrp() != os.getpid():
        refused("which contains UICI", guard().check_program, "web", (), (os.getpgrp(),))


def test_the_leader_of_our_process_group_contains_us_although_it_is_no_parent(stranger: int) -> None:
    """Who signals the group ends UICI as well, also after the process between the two has ended."""
    code = (
        "import os\n"
        "os.setpgid(0, 0)\n"
        "told, tells = os.pipe()\n"
        "if between := os.fork():\n"
        "    os.waitpid(between, 0)\n"
        "    print(os.read(told, 20).decode(), flush=True)\n"
        "elif inner := os.fork():\n"
        "    os.write(tells, str(inner).encode())\n"
        "    os._exit(0)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as leader:
        assert leader.stdout is not None
        inner = int(leader.stdout.readline())
        assert leader.pid not in (parent.pid for parent in psutil.Process(inner).parents())
        identity = SelfIdentity(pids=frozenset({inner}))
        refused("which contains UICI", guard(identity).check_program, "web", (), (leader.pid,))
        guard(identity).check_program("web", (), (stranger,))
        os.killpg(leader.pid, signal.SIGKILL)


def test_a_parent_that_ends_while_it_is_looked_at_hides_no_other(
    stranger: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, parents = [], psutil.Process.parents

    def seen(process: psutil.Process) -> list[psutil.Process]:
        looks.append(process.pid)
        if len(looks) == 1:
            raise psutil.NoSuchProcess(stranger)
        return parents(process)

    monkeypatch.setattr(psutil.Process, "parents", seen)
    refused("which contains UICI", guard().check_program, "web", (), (os.getppid(),))


def test_a_process_of_uici_that_is_gone_is_contained_by_nothing(stranger: int) -> None:
    guard(SelfIdentity(pids=frozenset({4_111_111}))).check_program("web", (), (stranger,))


# --- open requests ----------------------------------------------------------------------------------------------------


def test_a_request_about_one_group_looks_at_that_group_only(stranger: int) -> None:
    processes = [process("web", stranger), process("own", os.getpid())]
    for method in METHODS_ABOUT_ONE_GROUP:
        guard().check_request(method, ["web"], processes, os.getppid(), SOCKET)
        guard().check_request(method.removeprefix("supervisor."), ["web:web-0"], processes, os.getppid(), SOCKET)
        refused("is UICI itself", guard().check_request, method, ["own"], processes, stranger, SOCKET)
        refused("by name", guard().check_request, method, ["uici"], [], stranger, SOCKET)
        guard(layers=NOT_EXECUTOR).check_request(method, ["uici"], processes, stranger, SOCKET)


@pytest.mark.parametrize("names", [("web", "web"), ("other", "web"), ("web", "other")])
def test_a_process_belongs_by_its_group_or_by_its_own_name(names: tuple[str, str], stranger: int) -> None:
    own = process(names[0], os.getpid(), group=names[1])
    refused("which is UICI itself", guard().check_request, "stopProcess", ["web"], [own], stranger, SOCKET)


@pytest.mark.parametrize("name", ["uici", "uici:uici-0", "UICI", "uici-0"])
def test_a_request_names_uici_by_group_instance_or_program(name: str, stranger: int) -> None:
    refused("is UICI itself, by name", guard().check_request, "stopProcess", [name], [], stranger, SOCKET)


def test_a_process_without_id_is_told_by_its_name_and_group(stranger: int) -> None:
    for named in (process("uici"), process("x", group="uici"), process("uici-3", group="x")):
        refused("by name", guard().check_request, "stopAllProcesses", [], [named], stranger, SOCKET)
    guard().check_request("stopAllProcesses", [], [process("web"), process("db", stranger)], stranger, SOCKET)


def test_a_request_about_the_whole_supervisor_needs_it_not_to_contain_uici(stranger: int) -> None:
    guard().check_request("shutdown", [], [], stranger, SOCKET)
    refused("this supervisord is process", guard().check_request, "shutdown", [], [], os.getppid(), SOCKET)
    refused("this supervisord contains UICI", guard().check_request, "shutdown", [], [], stranger, "/run/OWN.sock")
    # A first parameter does not narrow what is not known to act on one group, nor does one that is no text.
    refused("contains UICI", guard().check_request, "reloadConfig", ["web"], [], stranger, "/run/own.sock")
    refused("contains UICI", guard().check_request, "stopProcess", [7], [], stranger, "/run/own.sock")
    refused("contains UICI", guard().check_request, "stopProcess", [], [], stranger, "/run/own.sock")


def test_nested_requests_are_looked_into(stranger: int) -> None:
    inner = {"methodName": "supervisor.stopProcess", "params": ["uici"]}
    nested = {"methodName": "system.multicall", "params": [[inner]]}
    for call in (inner, nested):
        refused("by name", guard().check_request, "system.multicall", [[call]], [], stranger, SOCKET)
    harmless = {"methodName": "supervisor.stopProcess", "params": ["web"]}
    processes = [process("own", os.getpid())]
    guard().check_request("system.multicall", [[harmless, "x"]], processes, os.getppid(), "/run/own.sock")
    whole = {"methodName": "supervisor.shutdown"}
    refused("contains", guard().check_request, "system.multicall", [[whole]], [], stranger, "/run/own.sock")
    others: list[list[Any]] = [[], ["x"], [{}], [7]]
    for nothing in others:
        guard().check_request("system.multicall", nothing, processes, os.getppid(), "/run/own.sock")


def test_arguments_that_name_uici_are_refused() -> None:
    refused("'uici' is UICI itself", guard().check_texts, ["kill", "uici"])
    guard().check_texts(["kill", "web"])
    guard(layers=NOT_EXECUTOR).check_texts(["kill", "uici"])
