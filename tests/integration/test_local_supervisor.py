"""The executor `local` and its supervisord when something goes wrong with either."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from executors.local import LocalExecutor
from tests.contract.local_rig import call, environment_of, make_call, supervisor_pid
from tests.contract.rig import NOBODY
from tests.integration.local_place import SLEEPER, Place, kill_supervisor, pid_of, place, refused, sleeper
from tests.real.process import end_supervisors
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import FailureKind, Happened
from uici.ports import ExecutorContext

__all__ = ["place"]


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
