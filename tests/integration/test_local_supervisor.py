"""The executor `local` and its supervisord when something goes wrong with either."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from executors.local import LocalExecutor
from executors.local.program import ProgramFiles
from tests.contract.local_rig import call, environment_of, make_call, supervisor_pid
from tests.contract.rig import ALL_LAYERS, NOBODY
from tests.real.process import end_supervisors
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind, Happened
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.ports import ExecutorContext

SLEEPER = [sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(1000)"]


class Place:
    """A state directory with a supervisord of its own."""

    def __init__(self, folder: Path) -> None:
        self.state = folder
        self.directory = folder / "supervisor"

    def executor(
        self, identity: SelfIdentity = NOBODY, layers: SelfGuardLayers = ALL_LAYERS, **settings: Any
    ) -> LocalExecutor:
        return LocalExecutor(
            ExecutorContext(
                environment="test",
                settings={"settle_seconds": 0.2, **settings},
                identity=identity,
                layers=layers,
                state_directory=str(self.state),
            )
        )


@pytest.fixture
def place() -> Iterator[Place]:
    # A short path, so that supervisord's socket stands where its other files do.
    with tempfile.TemporaryDirectory(prefix="uici-") as folder:
        place = Place(Path(folder))
        yield place
        for note in (place.directory / "run").glob("*.json"):
            end_orphan(json.loads(note.read_text()))
        end_supervisors(place.directory)


def end_orphan(note: JsonObject) -> None:
    with contextlib.suppress(OSError, psutil.Error):
        if os.getpgid(note["pid"]) == note["pid"]:
            os.killpg(note["pid"], signal.SIGKILL)


def sleeper(**more: Any) -> JsonObject:
    return {"program": "sleeper", "command": SLEEPER, "stop_seconds": 1.0, **more}


def pid_of(executor: LocalExecutor, binding: JsonObject) -> int:
    """Of its first instance, once that is the service itself: what is killed sooner has left no note of itself."""
    pid = int(call(executor, "program.status", target=binding)["instances"][0]["pid"])
    environment_of(pid)
    return pid


def kill_supervisor(place: Place) -> None:
    pid = supervisor_pid(place.directory)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", "supervisord is dead")


def refused(executor: LocalExecutor, name: str, **arguments: Any) -> CallError:
    with pytest.raises(CallError) as caught:
        call(executor, name, **arguments)
    return caught.value


# --- starting -------------------------------------------------------------------------------------------------


def test_reading_creates_nothing(place: Place) -> None:
    executor = place.executor()
    status = call(executor, "program.status", target=sleeper(replicas=2))
    assert (status["state"], status["desired"], status["running"]) == ("stopped", 2, 0)
    assert call(executor, "program.status", target={"program": "sleeper"})["state"] == "missing"
    call(executor, "program.health", target=sleeper())
    call(executor, "program.logs", target=sleeper())
    call(executor, "program.describe", target=sleeper())
    assert executor.find({"name": "sleeper"}) == ()
    assert executor.check().ok
    assert list(place.state.iterdir()) == []


def test_files_are_for_their_owner_only(place: Place) -> None:
    call(place.executor(), "program.start", target=sleeper(environment={"SECRET": "s3cret"}))
    assert stat.S_IMODE(place.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((place.directory / "supervisor.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE((place.directory / "programs" / "sleeper.json").stat().st_mode) == 0o600
    for file in place.directory.rglob("*"):
        if file.is_file() and file.name != "sleeper.json":
            assert b"s3cret" not in file.read_bytes()


def test_many_processes_start_one_supervisor(place: Place) -> None:
    script = textwrap.dedent(
        f"""
        import sys
        from tests.contract.local_rig import call
        from executors.local import LocalExecutor
        from uici.model.identity import SelfIdentity
        from uici.ports import ExecutorContext
        executor = LocalExecutor(ExecutorContext(environment="e", settings={{}}, identity=SelfIdentity(),
                                                 state_directory={str(place.state)!r}))
        name = sys.argv[1]
        call(executor, "program.start", target={{"program": name, "command": {SLEEPER!r}, "stop_seconds": 1}})
        """
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, f"p{number}"], cwd=Path(__file__).parents[2])
        for number in range(4)
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    ours = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(place.directory / "supervisord.conf") in (process.info["cmdline"] or [])
    ]
    assert ours == [supervisor_pid(place.directory)]
    executor = place.executor()
    for number in range(4):
        assert call(executor, "program.status", target={"program": f"p{number}"})["state"] == "running"


def test_a_supervisor_that_somebody_else_runs_is_not_started(place: Place) -> None:
    error = refused(place.executor(manage=False), "program.start", target=sleeper())
    assert (error.kind, error.code) == (FailureKind.TEMPORARY, "supervisor_unreachable")
    assert "supervisord -c" in error.message
    configuration = place.directory / "supervisord.conf"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "-c", str(configuration)],
        check=True,
        timeout=30,
    )
    until(lambda: place.executor(manage=False).check().ok, "supervisord answers")
    call(place.executor(manage=False), "program.start", target=sleeper())
    assert call(place.executor(), "program.status", target=sleeper())["state"] == "running"


def test_a_long_directory_gets_a_short_socket(tmp_path: Path) -> None:
    place = Place(tmp_path / ("d" * 100))
    place.state.mkdir()
    try:
        executor = place.executor()
        call(executor, "program.start", target=sleeper())
        assert call(executor, "program.status", target=sleeper())["state"] == "running"
        socket = Path(executor.check().detail.rpartition(" ")[2])
        assert socket.parent.name.startswith("uici-")
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    finally:
        end_supervisors(place.directory)
    shutil.rmtree(socket.parent)


@pytest.mark.parametrize("name", ["a;b", "a%(x)s", "a\nb", 'a"b', "a,b"])
def test_a_directory_that_an_ini_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    error = refused(Place(tmp_path / name).executor(), "program.start", target=sleeper())
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "bad_directory")


def test_a_folder_that_others_use_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "something").touch()
    error = refused(Place(tmp_path).executor(directory=str(tmp_path)), "program.start", target=sleeper())
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "bad_directory")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_no_directory_at_all_is_refused() -> None:
    executor = LocalExecutor(ExecutorContext(environment="test", settings={}, identity=NOBODY))
    assert refused(executor, "program.status", target=sleeper()).code == "bad_directory"
    assert not executor.check().ok


def test_a_space_in_the_directory(tmp_path: Path) -> None:
    place = Place(tmp_path / "a b")
    place.state.mkdir()
    try:
        call(place.executor(), "program.start", target=sleeper())
        assert call(place.executor(), "program.status", target=sleeper())["state"] == "running"
    finally:
        end_supervisors(place.directory)


# --- dying ----------------------------------------------------------------------------------------------------


def test_services_outlive_their_supervisor_and_come_back_under_a_new_one(place: Place) -> None:
    executor, binding = place.executor(), sleeper()
    call(executor, "program.start", target=binding)
    former = pid_of(executor, binding)
    kill_supervisor(place)
    status = call(executor, "program.status", target=binding)
    assert status["state"] == "running"
    assert status["instances"][0]["pid"] == former
    assert call(executor, "program.start", target=binding)["changed"] is False
    call(executor, "program.restart", target=binding)
    assert pid_of(executor, binding) != former
    assert not psutil.pid_exists(former) or psutil.Process(former).status() == "zombie"
    assert psutil.Process(pid_of(executor, binding)).ppid() == supervisor_pid(place.directory)


def test_an_orphan_can_be_stopped_even_when_it_ignores_sigterm(place: Place) -> None:
    executor, binding = place.executor(), sleeper()
    call(executor, "program.start", target=binding)
    former = pid_of(executor, binding)
    kill_supervisor(place)
    os.kill(former, signal.SIGSTOP)
    assert call(executor, "program.stop", target=binding)["changed"] is True
    assert call(executor, "program.status", target=binding)["state"] == "stopped"


def test_a_service_that_died_with_its_supervisor_is_seen_as_ended(place: Place) -> None:
    executor, binding = place.executor(), sleeper()
    call(executor, "program.start", target=binding)
    former = pid_of(executor, binding)
    kill_supervisor(place)
    os.kill(former, signal.SIGKILL)
    until(lambda: call(executor, "program.status", target=binding)["running"] == 0, "it is seen")
    assert call(executor, "program.status", target=binding)["state"] == "exited"
    call(executor, "program.start", target=binding)
    assert call(executor, "program.status", target=binding)["state"] == "running"


def test_stale_socket_and_pid_file(place: Place) -> None:
    executor, binding = place.executor(), sleeper()
    call(executor, "program.start", target=binding)
    kill_supervisor(place)
    assert (place.directory / "supervisor.sock").exists()
    (place.directory / "supervisord.pid").write_text(str(os.getpid()))  # the id was given to another process
    call(executor, "program.restart", target=binding)
    assert call(executor, "program.status", target=binding)["state"] == "running"
    assert supervisor_pid(place.directory) != os.getpid()


def test_a_supervisor_that_hangs_is_waited_for_no_longer_than_agreed(place: Place) -> None:
    executor, binding = place.executor(answer_seconds=0.5), sleeper()
    call(executor, "program.start", target=binding)
    pid = supervisor_pid(place.directory)
    os.kill(pid, signal.SIGSTOP)
    try:
        error = refused(executor, "program.restart", target=binding)
        assert (error.kind, error.code) == (FailureKind.TEMPORARY, "supervisor_no_answer")
        error = refused(executor, "program.status", target=binding)
        assert error.kind is FailureKind.TEMPORARY
        assert not executor.check().ok
    finally:
        os.kill(pid, signal.SIGCONT)
    assert call(executor, "program.status", target=binding)["state"] == "running"


def test_services_survive_the_end_of_uici(place: Place) -> None:
    script = textwrap.dedent(
        f"""
        import os, signal
        from tests.contract.local_rig import call
        from executors.local import LocalExecutor
        from uici.model.identity import SelfIdentity
        from uici.ports import ExecutorContext
        executor = LocalExecutor(ExecutorContext(environment="e", settings={{}}, identity=SelfIdentity(),
                                                 state_directory={str(place.state)!r}))
        call(executor, "program.start", target={sleeper()!r})
        os.killpg(os.getpgid(0), signal.SIGKILL)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        start_new_session=True,
        env={**os.environ, "UICI_TOKEN": "t0ken"},
    )
    assert process.wait(60) == -signal.SIGKILL
    executor = place.executor()
    assert call(executor, "program.status", target=sleeper())["state"] == "running"
    # Neither supervisord nor the service inherits what UICI itself was given.
    assert b"t0ken" not in Path(f"/proc/{pid_of(executor, sleeper())}/environ").read_bytes()
    assert b"t0ken" not in Path(f"/proc/{supervisor_pid(place.directory)}/environ").read_bytes()


@pytest.mark.parametrize("name", ["program.configure", "program.deploy"])
def test_a_change_cut_in_two_is_completed_by_sending_it_again(place: Place, name: str) -> None:
    executor = place.executor()
    binding = sleeper(
        versions={"a": {"environment": {"V": "a"}}, "b": {"environment": {"V": "b"}}}, version="a", replicas=2
    )
    call(executor, "program.start", target=binding)
    change: JsonObject = {"environment": {"V": "b"}} if name == "program.configure" else {"version": "b"}
    attempt = make_call(name, target=binding, **change)
    before = executor.before(attempt)
    # The crash: everything was written and one of two instances was stopped, then the sender died.
    done = place.executor()
    done.perform(attempt)
    for instance in call(executor, "program.status", target=binding)["instances"]:
        environment_of(instance["pid"])  # what is stopped sooner has left no note yet
    path = place.directory / "programs" / "sleeper.json"
    content = json.loads(path.read_text())
    content["pending"] = ["sleeper-0", "sleeper-1"]
    path.write_text(json.dumps(content))
    call(executor, "supervisor.rpc", method="stopProcess", params=["sleeper-0"])
    note_path = place.directory / "run" / "sleeper-0.json"
    note_path.write_text(json.dumps({**json.loads(note_path.read_text()), "launch": "an earlier one"}))
    done_already = call(executor, "program.status", target=binding)["instances"][1]["pid"]
    assert executor.happened(attempt, before) is Happened.NO
    assert executor.perform(attempt)["changed"] is True
    assert executor.happened(attempt, before) is Happened.YES
    status = call(executor, "program.status", target=binding)
    assert status["running"] == 2
    for instance in status["instances"]:
        assert environment_of(instance["pid"])["V"] == "b"
    assert status["instances"][1]["pid"] == done_already


def test_a_restart_whose_sender_died_is_proved_not_done_and_done_once(place: Place) -> None:
    executor, binding = place.executor(), sleeper()
    call(executor, "program.start", target=binding)
    former = pid_of(executor, binding)
    attempt = make_call("program.restart", target=binding)
    before = executor.before(attempt)
    os.kill(former, signal.SIGSTOP)  # so that the stop takes its whole grace time
    script = textwrap.dedent(
        f"""
        from tests.contract.local_rig import call
        from executors.local import LocalExecutor
        from uici.model.identity import SelfIdentity
        from uici.ports import ExecutorContext
        executor = LocalExecutor(ExecutorContext(environment="e", settings={{}}, identity=SelfIdentity(),
                                                 state_directory={str(place.state)!r}))
        call(executor, "program.restart", target={binding!r})
        """
    )
    sender = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])

    def state() -> str:
        return str(
            call(executor, "supervisor.rpc", method="getProcessInfo", params=["sleeper-0"])["result"]["statename"]
        )

    until(lambda: state() == "STOPPING", "the stop is under way")
    sender.kill()
    sender.wait()
    assert executor.happened(attempt, before) is Happened.NO
    assert state() == "STOPPED"
    executor.perform(attempt)
    assert executor.happened(attempt, before) is Happened.YES
    log = (place.directory / "supervisord.log").read_text()
    assert log.count("spawned: 'sleeper-0'") == 2


def test_a_change_that_stops_halfway_says_that_it_is_unknown(place: Place) -> None:
    executor, binding = place.executor(answer_seconds=0.5), sleeper()
    call(executor, "program.start", target=binding)
    os.kill(pid_of(executor, binding), signal.SIGSTOP)
    pid = supervisor_pid(place.directory)

    def state() -> str:
        return str(
            call(executor, "supervisor.rpc", method="getProcessInfo", params=["sleeper-0"])["result"]["statename"]
        )

    with ThreadPoolExecutor(1) as pool:
        restart = pool.submit(refused, executor, "program.restart", target=binding)
        until(lambda: state() == "STOPPING", "the stop is under way")
        os.kill(pid, signal.SIGSTOP)
        try:
            error = restart.result(30)
        finally:
            os.kill(pid, signal.SIGCONT)
    assert error.kind is FailureKind.UNKNOWN


# --- programs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "binding",
    [
        sleeper(command=["/no/such/program"]),
        sleeper(command=["no-such-program-anywhere"]),
        sleeper(directory="/no/such/folder"),
        sleeper(command=[sys.executable, "-c", "import sys; sys.exit(3)"]),
    ],
    ids=["no-file", "not-in-path", "no-folder", "exits"],
)
def test_what_cannot_start_is_said(place: Place, binding: JsonObject) -> None:
    executor = place.executor(settle_seconds=3.0)
    error = refused(executor, "program.start", target=binding)
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "start_failed")
    status = call(executor, "program.status", target=binding)
    expected = ("exited", 3) if "sys.exit" in binding["command"][-1] else ("failed", 127)
    assert (status["state"], status["exit_code"]) == expected
    if expected[0] == "failed":
        assert any("cannot start" in line for line in call(executor, "program.logs", target=binding)["lines"])


def test_a_version_that_does_not_start_is_taken_back(place: Place) -> None:
    executor = place.executor(settle_seconds=3.0)
    binding = sleeper(
        versions={"works": {}, "broken": {"command": [sys.executable, "-S", "-c", "raise SystemExit(7)"]}},
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


# --- UICI itself ----------------------------------------------------------------------------------------------


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
