"""No call to supervisord, however it is written, reaches UICI itself."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.contract.local_rig import call
from tests.integration.local_place import SLEEPER, Place, pid_of, place, refused, sleeper
from tests.waiting import until
from uici.model.call import CallError, FailureKind
from uici.model.identity import SelfGuardLayers, SelfIdentity

__all__ = ["place"]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("shutdown", []),
        ("restart", []),
        ("stopAllProcesses", []),
        ("supervisor.stopProcessGroup", ["sleeper-0"]),
        ("stopProcess", ["sleeper-0:*"]),
        ("signalProcess", ["sleeper-0", "KILL"]),
        ("signalAllProcesses", ["TERM"]),
        ("removeProcessGroup", ["sleeper-0"]),
        ("system.multicall", [[{"methodName": "supervisor.stopProcess", "params": ["sleeper-0"]}]]),
    ],
)
def test_no_open_call_reaches_uici(place: Place, method: str, params: list[Any]) -> None:
    binding = sleeper()
    call(place.executor(), "program.start", target=binding)
    call(place.executor(), "program.start", target={"program": "other", "command": SLEEPER, "stop_seconds": 1})
    pid = pid_of(place.executor(), binding)
    guarded = place.executor(SelfIdentity(pids=frozenset({pid})))
    error = refused(guarded, "supervisor.rpc", method=method, params=params)
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "self_target")
    assert pid_of(place.executor(), binding) == pid
    # A sibling may be healed.
    call(guarded, "program.restart", target={"program": "other"})
    call(guarded, "supervisor.rpc", method="stopProcess", params=["other-0"])
    unguarded = place.executor(
        SelfIdentity(pids=frozenset({pid})),
        SelfGuardLayers(intake=False, planning=False, translation=False, executor=False),
    )
    with contextlib.suppress(CallError):  # a program that runs is not removed, but supervisord was asked
        call(unguarded, "supervisor.rpc", method=method, params=params)
    if method != "removeProcessGroup":
        until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", "it acted")


def test_nested_requests_are_looked_into(place: Place) -> None:
    call(place.executor(), "program.start", target=sleeper())
    guarded = place.executor(SelfIdentity(pids=frozenset({pid_of(place.executor(), sleeper())})))
    inner = {"methodName": "system.multicall", "params": [[{"methodName": "supervisor.stopAllProcesses"}]]}
    assert refused(guarded, "supervisor.rpc", method="system.multicall", params=[[inner]]).code == "self_target"


def test_uici_as_a_service_of_this_supervisor_does_not_touch_itself(place: Place) -> None:
    script = textwrap.dedent(
        f"""
        import sys, time
        sys.path[:0] = {[str(Path(__file__).parents[2])]!r}
        from tests.contract.local_rig import call
        from executors.local import LocalExecutor
        from uici.model.call import CallError
        from uici.model.identity import SelfIdentity
        from uici.ports import ExecutorContext
        executor = LocalExecutor(ExecutorContext(environment="e", settings={{}}, identity=SelfIdentity(),
                                                 state_directory={str(place.state)!r}))
        for name, arguments in (("program.restart", {{"target": {{"program": "uici"}}}}),
                                ("supervisor.rpc", {{"method": "shutdown"}})):
            try:
                call(executor, name, **arguments)
            except CallError as error:
                print("answer", error.code, flush=True)
        time.sleep(999)
        """
    )
    binding = {"program": "uici", "command": [sys.executable, "-c", script], "stop_seconds": 1}
    executor = place.executor()
    call(executor, "program.start", target=binding)
    pid = pid_of(executor, binding)

    def answers() -> list[str]:
        return [line for line in call(executor, "program.logs", target=binding)["lines"] if line.startswith("answer")]

    until(lambda: len(answers()) == 2, "both were refused")
    assert answers() == ["answer self_target", "answer self_target"]
    assert pid_of(executor, binding) == pid
