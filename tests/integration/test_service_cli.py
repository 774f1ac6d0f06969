"""The command line as people run it: a process of its own, a real server, exit codes, and what is on which stream."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.service_rig import PLATFORM, Served, alert, notification, serving
from uici.access.roles import Role

POLICIES = "autonomy: approve\nrisk: {auto_approve_up_to: low}\n"
DEADLINE = 60


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "config").mkdir()
    (folder / "config" / "policies.yml").write_text(POLICIES)
    with serving(folder, platform=PLATFORM) as served:
        yield served


def uici(served: Served, *arguments: str, role: Role = Role.ADMIN, **more: Any) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UICI_")}
    environment |= {"UICI_URL": served.url, "UICI_TOKEN": served.tokens[role]}
    command = [sys.executable, "-c", "from uici.cli import main; main()", *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False, **more
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert served.tokens[role] not in done.stdout + done.stderr
    return done


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_looking(served: Served) -> None:
    names = {each["name"] for each in answer(uici(served, "operations", "list", "-o", "json"))["operations"]}
    assert {"restart_service", "scale_service"} <= names
    assert "web" in uici(served, "targets").stdout
    assert "local" in uici(served, "environments", role=Role.VIEWER).stdout
    (worker,) = answer(uici(served, "workers", "-o", "json"))["workers"]
    assert (worker["pid"], worker["draining"], worker["runs"]) == (os.getpid(), False, [])
    assert "replicas" in uici(served, "operations", "show", "scale_service").stdout
    assert "there are no runs" in uici(served, "runs", "--state", "waiting").stdout
    assert "unknown_state" in uici(served, "runs", "--state", "nothing").stderr


def test_guides(served: Served) -> None:
    assert "disk-full" in uici(served, "guides", "list", "-s", "inodes", role=Role.VIEWER).stdout
    assert "restart-safely" not in uici(served, "guides", "list", "-s", "inodes").stdout
    assert "# A disk is full" in uici(served, "guides", "show", "disk-full").stdout
    assert "<h1>A disk is full" in answer(uici(served, "guides", "show", "disk-full", "-o", "json"))["html"]


def test_incidents(served: Served) -> None:
    (incident,) = served.alert(notification(alert("ForTheTerminal"))).json()["incidents"]
    assert incident["id"] in uici(served, "incidents").stdout
    assert answer(uici(served, "incidents", incident["id"], "-o", "json"))["id"] == incident["id"]
    assert "ForTheTerminal" in uici(served, "incidents", incident["id"]).stdout


@pytest.mark.parametrize(
    ("arguments", "role", "code", "said"),
    [
        (["incidents", "nothing"], Role.VIEWER, 1, "unknown_incident"),
        (["runs", "nothing"], Role.VIEWER, 1, "unknown_run"),
        (["watch", "nothing"], Role.VIEWER, 1, "unknown_run"),
        (["approve", "nothing", "--cid", "x"], Role.APPROVER, 1, "unknown_run"),
        (["operations", "show", "restart_servise"], Role.VIEWER, 1, "did you mean 'restart_service'"),
        (["run", "restart_servise", "web"], Role.OPERATOR, 2, "did you mean 'restart_service'"),
        (["run", "restart_service", "wep"], Role.OPERATOR, 2, "did you mean 'web'"),
        (["run", "scale_service", "web", "-p", "replica=2"], Role.OPERATOR, 2, "did you mean 'replicas'"),
        (["run", "scale_service", "web", "-p", "replicas=two"], Role.OPERATOR, 2, "JSON value"),
        (["run", "scale_service", "web", "-p", "replicas=0"], Role.OPERATOR, 2, "replicas"),
        (["run", "scale_service", "web"], Role.OPERATOR, 2, "replicas"),
        (["run", "restart_service", "web", "-e", "mars"], Role.OPERATOR, 2, "mars"),
        (["run", "restart_service", "web"], Role.VIEWER, 3, "permission_missing"),
        (["approve", "nothing", "--cid", "x"], Role.OPERATOR, 3, "permission_missing"),
        (["freeze"], Role.VIEWER, 3, "permission_missing"),
        (["runs"], Role.ALERTMANAGER, 3, "permission_missing"),
    ],
)
def test_refusals(served: Served, arguments: list[str], role: Role, code: int, said: str) -> None:
    done = uici(served, *arguments, role=role)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stdout == ""


def test_a_wrong_token_exits_3(served: Served) -> None:
    done = uici(served, "runs", "--token", served.expired)
    assert done.returncode == 3
    assert "invalid_token" in done.stderr


def test_previews(served: Served, tmp_path: Path) -> None:
    payload = tmp_path / "payload.json"
    payload.write_text(json.dumps(notification(alert("ServiceDown", service="web"))))
    (preview,) = answer(uici(served, "preview", str(payload), "-o", "json"))["previews"]
    assert (preview["environment"], preview["target"], preview["strategy"]) == ("local", "web", "service_down")
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"steps": [{"operation": "restart_service", "target": "web"}]}))
    shown = uici(served, "preview", "--plan", str(plan))
    assert "program.restart" in shown.stdout
    assert "needs_approval" in shown.stdout
    piped = uici(served, "preview", "--plan", "-", "-o", "json", input=plan.read_text())
    assert answer(piped)["previews"][0]["cid"] in shown.stdout
    assert uici(served, "preview", str(payload), "--environment", "mars").returncode == 2


def waiting(served: Served, run_id: str) -> dict[str, Any]:
    """The run's details once it asks for approval."""
    for _ in range(DEADLINE * 5):
        details = answer(uici(served, "runs", run_id, "-o", "json"))
        if details["approvals"]:
            return details
        if details["state"] == "ended":
            break
    raise AssertionError(details)


def test_a_run_that_is_approved_and_watched(served: Served) -> None:
    begun = uici(served, "run", "start_service", "web", "--watch")
    assert begun.returncode == 0, begun.stdout + begun.stderr
    started = uici(served, "run", "restart_service", "web", "--reason", "a test", "-o", "json", role=Role.OPERATOR)
    run_id = answer(started)["id"]
    assert run_id in started.stderr
    cid = waiting(served, run_id)["cid"]
    wrong = uici(served, "approve", run_id, "--cid", "sha256:" + "0" * 64, role=Role.APPROVER)
    assert wrong.returncode == 1
    assert cid in wrong.stderr
    allowed = uici(served, "approve", run_id, "--cid", cid, "--comment", "go", role=Role.APPROVER, input="")
    assert allowed.returncode == 0, allowed.stderr
    watched = uici(served, "watch", run_id, role=Role.VIEWER)
    assert watched.returncode == 0, watched.stdout + watched.stderr
    assert "call sent" in watched.stdout
    assert "effective" in watched.stdout
    details = answer(uici(served, "runs", run_id, "-o", "json"))
    assert details["actor"].startswith("the operator#")
    assert details["approvals"][0]["decided_by"].startswith("the approver#")
    assert details["approvals"][0]["comment"] == "go"
    events = [json.loads(line) for line in uici(served, "watch", run_id, "-o", "json").stdout.splitlines()]
    assert events[0]["type"] == "uici.run_requested"
    assert events[-1]["type"] == "uici.run_ended"


def test_a_run_that_is_rejected_exits_1(served: Served) -> None:
    run_id = answer(uici(served, "run", "restart_service", "web", "-o", "json"))["id"]
    cid = waiting(served, run_id)["cid"]
    assert uici(served, "reject", run_id, "--cid", cid).returncode == 0
    assert uici(served, "watch", run_id).returncode == 1
    assert uici(served, "reject", run_id, "--cid", cid).returncode == 1


def test_a_run_that_is_cancelled_exits_1(served: Served) -> None:
    run_id = answer(uici(served, "run", "restart_service", "web", "-o", "json"))["id"]
    waiting(served, run_id)
    assert uici(served, "cancel", run_id, "--reason", "changed my mind").returncode == 0
    assert uici(served, "watch", run_id).returncode == 1


def test_an_incident_is_watched_to_its_end(served: Served) -> None:
    (incident,) = served.alert(notification(alert("NobodyKnowsThis"))).json()["incidents"]
    watched = uici(served, "incidents", incident["id"], "--watch", role=Role.VIEWER)
    assert watched.returncode == 1  # a human is needed
    assert "incident opened" in watched.stdout
    assert f"{incident['id']} ended: escalated" in watched.stdout
    lines = uici(served, "watch", incident["id"], "-o", "json").stdout.splitlines()
    assert [json.loads(line)["incident"] for line in lines] == [incident["id"]] * len(lines)
    assert json.loads(lines[-1])["type"] == "uici.run_ended"
    run_id = answer(uici(served, "incidents", incident["id"], "-o", "json"))["run"]
    assert uici(served, "runs", run_id, "--watch").returncode == 1
    # The one is not taken for the other.
    assert "unknown_run" in uici(served, "runs", incident["id"], "--watch").stderr
    assert "unknown_incident" in uici(served, "incidents", run_id, "--watch").stderr


@pytest.mark.parametrize("arguments", [["watch", "--tail", "1"], ["runs", "--watch"], ["incidents", "--watch"]])
def test_everything_is_watched_until_ctrl_c(served: Served, arguments: list[str]) -> None:
    # As a terminal starts it: whoever runs the tests in the background has the signal ignored, which is inherited.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from uici.cli import main; main()"
    )
    command = [sys.executable, "-c", program, *arguments, "-o", "json"]
    environment = os.environ | {"UICI_URL": served.url, "UICI_TOKEN": served.tokens[Role.VIEWER]}
    served.emit("before_it_was_watched", run="run_0", incident="inc_0")
    watching = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert watching.stdout is not None
    if arguments[0] == "watch":
        assert json.loads(watching.stdout.readline())["type"] == "uici.before_it_was_watched"
    seen: list[str] = []
    line = watching.stdout.readline
    reading = threading.Thread(target=lambda: seen.append(line()))
    reading.start()
    for _ in range(DEADLINE * 20):
        # Again and again, since nobody can say when the stream stands.
        served.emit("while_it_was_watched", run="run_1", incident="inc_1")
        reading.join(0.05)
        if seen:
            break
    assert json.loads(seen[0])["type"] == "uici.while_it_was_watched"
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=DEADLINE)
    assert watching.returncode == 130
    assert said.strip() == "no longer watched"


def test_the_brake(served: Served) -> None:
    frozen = answer(uici(served, "freeze", "--reason", "maintenance", "-o", "json", role=Role.OPERATOR))
    assert (frozen["frozen"], frozen["reason"]) == (True, "maintenance")
    try:
        stopped = uici(served, "run", "start_service", "web", "--watch")
        assert stopped.returncode == 1
        assert "maintenance" in stopped.stdout
    finally:
        assert answer(uici(served, "unfreeze", "-o", "json"))["frozen"] is False


def test_the_configuration_is_shown_and_loaded_again(served: Served) -> None:
    shown = answer(uici(served, "configuration", "-o", "json", role=Role.VIEWER))
    assert shown["digest"].startswith("sha256:")
    assert answer(uici(served, "reload", "-o", "json")) == {"outcome": "unchanged", **shown}
    assert uici(served, "reload", role=Role.OPERATOR).returncode == 3
    broken = Path(shown["directory"]) / "findings.yml"
    broken.write_text("findings: 1\nfinding: 2\n")
    try:
        refused = uici(served, "reload")
        assert refused.returncode == 1
        assert "configuration_rejected" in refused.stderr
        assert f"{broken}:1:" in refused.stderr
        assert f"{broken}:2:" in refused.stderr
        assert "rejected" in uici(served, "configuration").stdout
    finally:
        broken.unlink()
        assert uici(served, "reload").returncode == 0


def test_the_fleet_is_shown(served: Served) -> None:
    shown = uici(served, "targets", "--all", role=Role.VIEWER)
    assert shown.returncode == 0
    assert "web" in shown.stdout
    assert "local" in shown.stdout
    document = answer(uici(served, "targets", "web", "-o", "json", role=Role.VIEWER))
    assert [row["environment"] for row in document["environments"]] == ["local"]
    unknown = uici(served, "targets", "wbe")
    assert unknown.returncode == 1
    assert "did you mean 'web'?" in unknown.stderr
    for wrong in (["web", "--all"], ["--environment", "local"], ["--all", "-e", "lcal"]):
        assert uici(served, "targets", *wrong).returncode == 2
