"""What becomes of programs under a supervisord: those that cannot start, that people edit, that write anything."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from executors.local.program import ProgramFiles
from tests.contract.local_rig import call, environment_of, make_call
from tests.integration.local_place import Place, pid_of, place, refused, sleeper
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import FailureKind, Happened

__all__ = ["place"]


@pytest.mark.parametrize(
    "binding",
    [
        sleeper(command=["/no/such/program"]),
        sleeper(command=["no-such-program-anywhere"]),
        sleeper(directory="/no/such/folder"),
        sleeper(command=["/bin/sh", "-c", "exit 3"]),
    ],
    ids=["no-file", "not-in-path", "no-folder", "exits"],
)
def test_what_cannot_start_is_said(place: Place, binding: JsonObject) -> None:
    executor = place.executor(settle_seconds=3.0)
    error = refused(executor, "program.start", target=binding)
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "start_failed")
    status = call(executor, "program.status", target=binding)
    expected = ("exited", 3) if "exit 3" in binding["command"] else ("failed", 127)
    assert (status["state"], status["exit_code"]) == expected
    if expected[0] == "failed":
        assert any("cannot start" in line for line in call(executor, "program.logs", target=binding)["lines"])


def test_a_version_that_does_not_start_is_taken_back(place: Place) -> None:
    executor = place.executor(settle_seconds=3.0)
    binding = sleeper(
        versions={"works": {}, "broken": {"command": ["/bin/sh", "-c", "exit 7"]}},
        version="works",
    )
    call(executor, "program.start", target=binding)
    attempt = make_call("program.deploy", target=binding, version="broken")
    before = executor.before(attempt)
    error = refused(executor, "program.deploy", target=binding, version="broken")
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "start_failed")
    assert "exit status 7" in error.message
    assert "again" in error.message
    described = call(executor, "program.describe", target=binding)
    assert described["configuration"]["version"] == "works"
    assert described["status"]["state"] == "running"
    assert executor.happened(attempt, before) is Happened.NO


def test_an_unknown_version_names_the_choices(place: Place) -> None:
    binding = sleeper(versions={"blue": {}, "green": {}}, version="blue")
    error = refused(place.executor(), "program.deploy", target=binding, version="gren")
    assert error.code == "unknown_version"
    assert "blue, green" in error.message
    assert "did you mean 'green'" in error.message


def test_a_program_whose_threads_outlive_its_main_thread_is_restarted(place: Place) -> None:
    """Its process looks ended before supervisord can start another one in its place."""
    program = """
import ctypes, os, signal, sys, threading, time
over = threading.Event()
def outlive():
    over.wait()
    time.sleep(0.7)
    os._exit(0)
threading.Thread(target=outlive).start()
end_this_thread = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
signal.signal(signal.SIGTERM, lambda *_: (over.set(), ctypes.CDLL(None).syscall(end_this_thread, 0)))
open(sys.argv[1], "w").close()
while True:
    signal.pause()
"""
    ready = place.state / "ready"
    binding = sleeper(command=[sys.executable, "-c", program, str(ready)], stop_seconds=10)
    executor = place.executor()
    call(executor, "program.start", target=binding)
    for change in ("restart", "configure"):
        until(ready.exists, "the program to listen to signals")
        ready.unlink()
        before = pid_of(executor, binding)
        more: JsonObject = {"environment": {"COLOUR": "green"}} if change == "configure" else {}
        call(executor, f"program.{change}", target=binding, **more)
        assert pid_of(executor, binding) != before
    assert environment_of(pid_of(executor, binding))["COLOUR"] == "green"


def test_what_people_edit_wins_over_what_was_changed_before(place: Place) -> None:
    executor = place.executor()
    call(executor, "program.start", target=sleeper())
    call(executor, "program.scale", target=sleeper(), replicas=2)
    call(executor, "program.restart", target=sleeper())
    assert call(executor, "program.status", target=sleeper())["desired"] == 2
    call(executor, "program.restart", target=sleeper(replicas=3, environment={"EDITED": "1"}))
    status = call(executor, "program.status", target=sleeper())
    assert status["running"] == 3
    assert environment_of(status["instances"][2]["pid"])["EDITED"] == "1"
    assert environment_of(status["instances"][2]["pid"])["UICI_INSTANCE"] == "2"


def test_scaling_to_nothing_and_back(place: Place) -> None:
    executor, binding = place.executor(), sleeper(replicas=2)
    call(executor, "program.start", target=binding)
    call(executor, "program.scale", target=binding, replicas=0)
    status = call(executor, "program.status", target=binding)
    assert (status["state"], status["desired"], status["running"]) == ("stopped", 0, 0)
    call(executor, "program.scale", target=binding, replicas=1)
    assert call(executor, "program.status", target=binding)["state"] == "running"


def test_a_stopped_program_stays_stopped_when_it_is_changed(place: Place) -> None:
    executor, binding = place.executor(), sleeper()
    call(executor, "program.start", target=binding)
    call(executor, "program.stop", target=binding)
    call(executor, "program.configure", target=binding, environment={"A": "1"})
    call(executor, "program.scale", target=binding, replicas=2)
    assert call(executor, "program.status", target=binding)["running"] == 0
    call(executor, "program.start", target=binding)
    assert environment_of(pid_of(executor, binding))["A"] == "1"


def test_the_whole_process_group_is_ended(place: Place) -> None:
    script = (
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(999)'])\n"
        "time.sleep(999)\n"
    )
    executor, binding = place.executor(), sleeper(command=[sys.executable, "-S", "-c", script])
    call(executor, "program.start", target=binding)
    parent = psutil.Process(pid_of(executor, binding))
    until(lambda: len(parent.children()) == 1, "the child runs")
    assert call(executor, "program.usage", target=binding)["processes"] == 2
    (child,) = parent.children()
    call(executor, "program.stop", target=binding)
    until(lambda: not child.is_running() or child.status() == "zombie", "the child has ended too")


def test_logs_of_any_bytes(place: Place) -> None:
    script = (
        "import os,time\n"
        "for n in range(300): os.write(1, b'line %d\\n' % n)\n"
        "os.write(2, b'\\xff\\x00\\x1b[31m' + b'x' * 9000 + b'\\n')\n"
        "time.sleep(999)\n"
    )
    executor, binding = place.executor(), sleeper(command=[sys.executable, "-S", "-c", script])
    call(executor, "program.start", target=binding)
    until(lambda: len(call(executor, "program.logs", target=binding, lines=1000)["lines"]) == 301, "all lines")
    logs = call(executor, "program.logs", target=binding, lines=3)
    assert logs["truncated"] is True
    assert logs["lines"][:2] == ["line 298", "line 299"]
    assert len(logs["lines"][2]) == 4096
    assert call(executor, "program.logs", target=binding, lines=400)["truncated"] is False
    raw = call(executor, "supervisor.rpc", method="tailProcessStdoutLog", params=["sleeper-0", 0, 100])
    assert raw["result"]


def test_a_broken_specification_is_named(place: Place) -> None:
    executor = place.executor()
    call(executor, "program.start", target=sleeper())
    (place.directory / "programs" / "sleeper.json").write_text("{")
    error = refused(executor, "program.status", target=sleeper())
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "specification_broken")


def test_find_by_program_and_by_instance(place: Place) -> None:
    executor = place.executor()
    call(executor, "program.start", target=sleeper())
    assert executor.find({"program": "sleeper"}) == ({"program": "sleeper"},)
    assert executor.find({"name": "sleeper-0"}) == ({"program": "sleeper"},)
    assert executor.find({"instance": "sleeper"}) == ()


def test_an_ini_holds_names_and_paths_only(tmp_path: Path) -> None:
    from executors.local.program import Specification
    from executors.local.settings import LocalBinding

    binding = LocalBinding.model_validate(sleeper(command=["x\n[program:evil]"], environment={"A": "%(B)s\n;"}))
    text = ProgramFiles(tmp_path, 1).render(Specification.initial(binding))
    assert text.count("[program:") == 1
    assert "evil" not in text
    assert "%(B)s" not in text
