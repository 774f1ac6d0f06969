"""What holds UICI back, from the webhook to the supervisor's own log: with a whole `uici serve` and real programs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from tests.e2e.local_ground import LocalGround, local_ground, program
from tests.e2e.server import alert, payload, resolved
from tests.real.components import payloads_folder
from tests.waiting import until
from uici.access.roles import Role
from uici.model.base import JsonObject

_QUICKLY = {"within": 30, "stable_for": 0.1, "interval": 0.1}
_fingerprints = count(0xA000)

# Starting is of low risk and restarting of medium: here the latter needs a person's word.
STRATEGIES: JsonObject = {
    "strategies": {
        "stuck": {
            "match": ['alertname="Stuck"'],
            "diagnose": ["get_service_status"],
            "remedies": [{"name": "restart_it", "steps": ["restart_service"], "verify": _QUICKLY}],
        },
        "gone": {
            "match": ['alertname="Gone"'],
            "diagnose": ["get_service_status"],
            "remedies": [{"name": "start_it", "steps": ["start_service"], "verify": _QUICKLY}],
        },
    }
}
TARGETS = {
    "plain": program("plain"),
    "brake": program("brake"),
    "observed": program("observed", autonomy="observe"),
    "proposed": program("proposed", autonomy="propose"),
    "approved": program("approved"),
    "rejected": program("rejected"),
    "waiting": program("waiting"),
    "cancelled": program("cancelled"),
    # Nothing that UICI can do brings it back.
    "hopeless": {"bindings": {"local": {"program": "hopeless", "command": ["false"]}}},
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGround]:
    policies: JsonObject = {
        "autonomy": "auto",
        "risk": {"auto_approve_up_to": "low"},
        "cooldown": {"seconds": 0},
        "give_up": {"ineffective_runs": 2, "within_seconds": 3600},
        "blast_radius": {"max_per_hour": 1000},
    }
    folder = tmp_path_factory.mktemp("guards")
    with local_ground(folder, TARGETS, policies=policies, strategies=STRATEGIES) as ground:
        ground.start("plain", "brake", "approved", "rejected", "waiting", "cancelled")
        yield ground


def fires(name: str, target: str, **more: Any) -> JsonObject:
    """A firing alert that never was before."""
    return alert(name, target, fingerprint=f"{next(_fingerprints):016x}", **more)


def opened(ground: LocalGround, firing: JsonObject) -> JsonObject:
    """The incident that the alert opened."""
    answer = ground.uici.send(payload(firing))
    assert answer.status_code == 202, answer.text
    (incident,) = answer.json()["incidents"]
    found: JsonObject = ground.uici.get(f"/incidents/{incident['id']}")
    return found


def ended(ground: LocalGround, incident: JsonObject) -> JsonObject:
    """The run of an incident, once it has ended; the incident ends with it, and its alerts as it did."""
    run = ground.uici.ended(incident["run"])
    closed = ground.uici.get(f"/incidents/{incident['id']}")
    assert (closed["state"], closed["outcome"]) == ("closed", run["outcome"])
    assert {one["outcome"] for one in closed["alerts"]} == {run["outcome"]}
    return run


def asks(ground: LocalGround, incident: JsonObject) -> JsonObject:
    """The run of an incident, once it asks for approval and people know of it."""
    run = incident["run"]

    def asking() -> bool:
        return bool(ground.uici.get(f"/runs/{run}")["stage"] == "approval" and ground.told(run))

    until(asking, f"{run} to ask for approval", lambda: ground.uici.explain(run))
    (message,) = ground.told(run)
    found: JsonObject = ground.uici.get(f"/runs/{run}")
    assert (message["kind"], message["cid"]) == ("approval", found["cid"])
    return found


def told_once(ground: LocalGround, run: str, kind: str) -> JsonObject:
    until(lambda: bool(ground.told(run)), f"people to be told of {run}", ground.uici.tail)
    (message,) = ground.told(run)
    assert message["kind"] == kind
    return message


def healed(ground: LocalGround, firing: JsonObject, incident: JsonObject, target: str) -> JsonObject:
    """The run once the target runs again, the alert is resolved, and the incident is closed as healed."""
    until(lambda: ground.process(target) is not None, f"{target} to run", ground.uici.tail)
    assert ground.uici.send(payload(resolved(firing))).status_code == 202
    run = ended(ground, incident)
    assert run["outcome"] == "healed", ground.uici.explain(run["id"])
    return run


def test_without_a_guard_in_the_way_a_program_is_healed(ground: LocalGround) -> None:
    before = ground.spawned("plain")
    ground.kill("plain")
    firing = fires("Gone", "plain")
    incident = opened(ground, firing)
    healed(ground, firing, incident, "plain")
    assert ground.spawned("plain") == before + 1
    assert ground.told(incident["run"]) == []


def test_a_freeze_stops_everything_until_it_is_lifted(ground: LocalGround) -> None:
    before = ground.spawned("brake")
    ground.kill("brake")
    frozen = ground.uici.post("/api/v1/freeze", {"frozen": True, "reason": "maintenance"})
    assert frozen.status_code == 200, frozen.text
    try:
        run = ended(ground, opened(ground, fires("Gone", "brake")))
        assert run["outcome"] == "refused"
        assert "frozen by test-operator" in run["reason"]
        assert "maintenance" in told_once(ground, run["id"], "refused")["why"]
        # People's plans are bound by it as well.
        asked = ground.uici.run_step("brake", "start_service", "local")
        assert "frozen" in asked["reason"]
        assert ground.spawned("brake") == before
    finally:
        ground.uici.post("/api/v1/freeze", {"frozen": False})
    firing = fires("Gone", "brake")
    healed(ground, firing, opened(ground, firing), "brake")
    assert ground.spawned("brake") == before + 1


@pytest.mark.parametrize(("target", "messages"), [("observed", 0), ("proposed", 1)])
def test_without_autonomy_nothing_is_done(ground: LocalGround, target: str, messages: int) -> None:
    assert ground.spawned(target) == 0
    run = ended(ground, opened(ground, fires("Gone", target)))
    assert run["outcome"] == "observed"
    assert f"autonomy is {target.removesuffix('d')}" in run["reason"]
    assert run["calls"] == []
    # What would have been done is known, to the call.
    assert [call["name"] for step in run["steps"] for call in step["calls"]] == ["program.start"]
    if messages:
        message = told_once(ground, run["id"], "proposal")
        assert [step["operation"] for step in message["plan"]] == ["start_service"]
    assert len(ground.told(run["id"])) == messages
    assert ground.spawned(target) == 0


def test_a_question_survives_a_crash_and_is_answered_for_its_own_plan_only(ground: LocalGround) -> None:
    before = ground.spawned("approved")
    firing = fires("Stuck", "approved")
    incident = opened(ground, firing)
    run = asks(ground, incident)
    ground.uici.kill()
    ground.uici.start()
    again = ground.uici.get(f"/runs/{run['id']}")
    assert (again["state"], again["stage"], again["cid"]) == ("waiting", "approval", run["cid"])

    path = f"/api/v1/runs/{run['id']}"
    other = ground.uici.post(f"{path}:approve", {"cid": "sha256:" + "0" * 64}, Role.APPROVER)
    assert other.status_code == 409
    assert other.json()["code"] == "other_plan"
    unentitled = ground.uici.post(f"{path}:approve", {"cid": run["cid"]}, Role.OPERATOR)
    assert unentitled.status_code == 403
    assert ground.spawned("approved") == before

    yes = ground.uici.post(f"{path}:approve", {"cid": run["cid"], "comment": "go"}, Role.APPROVER)
    assert yes.status_code == 200, yes.text
    until(lambda: ground.spawned("approved") == before + 1, "the restart", lambda: ground.uici.explain(run["id"]))
    done = healed(ground, firing, incident, "approved")
    assert ground.spawned("approved") == before + 1
    (asked,) = done["approvals"]
    assert (asked["state"], asked["comment"]) == ("approved", "go")
    assert asked["decided_by"].startswith("test-approver#")
    late = ground.uici.post(f"{path}:reject", {"cid": run["cid"]}, Role.APPROVER)
    assert (late.status_code, late.json()["code"]) == (409, "already_decided")
    # Told once, in spite of the crash.
    assert len(ground.told(run["id"])) == 1


def test_a_rejected_plan_is_refused(ground: LocalGround) -> None:
    before = ground.spawned("rejected")
    incident = opened(ground, fires("Stuck", "rejected"))
    run = asks(ground, incident)
    no = ground.uici.post(f"/api/v1/runs/{run['id']}:reject", {"cid": run["cid"], "comment": "not now"}, Role.APPROVER)
    assert no.status_code == 200, no.text
    done = ended(ground, incident)
    assert done["outcome"] == "refused"
    assert done["reason"].startswith("rejected by test-approver#")
    assert done["reason"].endswith(": not now")
    assert done["calls"] == []
    assert ground.spawned("rejected") == before


def test_an_alert_that_resolves_while_people_are_asked_needs_no_answer(ground: LocalGround) -> None:
    before = ground.spawned("waiting")
    firing = fires("Stuck", "waiting")
    incident = opened(ground, firing)
    run = asks(ground, incident)
    assert ground.uici.send(payload(resolved(firing))).status_code == 202
    done = ended(ground, incident)
    assert (done["outcome"], done["calls"]) == ("self_resolved", [])
    late = ground.uici.post(f"/api/v1/runs/{run['id']}:approve", {"cid": run["cid"]}, Role.APPROVER)
    assert (late.status_code, late.json()["code"]) == (409, "already_decided")
    after = ground.uici.get(f"/runs/{run['id']}")
    assert (after["outcome"], [item["state"] for item in after["approvals"]]) == ("self_resolved", ["withdrawn"])
    assert ground.spawned("waiting") == before


def test_a_run_that_waits_can_be_cancelled(ground: LocalGround) -> None:
    before = ground.spawned("cancelled")
    incident = opened(ground, fires("Stuck", "cancelled"))
    run = asks(ground, incident)
    answer = ground.uici.post(f"/api/v1/runs/{run['id']}:cancel", {"reason": "by hand"})
    assert answer.status_code == 200, answer.text
    done = ended(ground, incident)
    assert (done["outcome"], done["calls"]) == ("refused", [])
    assert done["cancelled_by"].startswith("test-operator#")
    assert done["reason"].startswith("cancelled by test-operator#")
    assert "by hand" in done["reason"]
    again = ground.uici.post(f"/api/v1/runs/{run['id']}:cancel", {})
    assert (again.status_code, again.json()["code"]) == (409, "run_has_ended")
    assert ground.spawned("cancelled") == before


def test_uici_gives_up_and_says_so(ground: LocalGround) -> None:
    for number in (1, 2):
        run = ended(ground, opened(ground, fires("Gone", "hopeless")))
        assert (run["outcome"], run["verdict"]) == ("escalated", "ineffective"), ground.uici.explain(run["id"])
        told_once(ground, run["id"], "escalation")
        assert ground.uici.get(f"/runs/{run['id']}")["acted_at"] is not None, number
    tried = ground.spawned("hopeless")
    assert tried > 0
    run = ended(ground, opened(ground, fires("Gone", "hopeless")))
    assert run["outcome"] == "escalated"
    assert run["reason"].startswith("gave_up:")
    assert run["calls"] == []
    told_once(ground, run["id"], "escalation")
    assert ground.spawned("hopeless") == tried
    # The next alert finds that nothing has changed since: it ends the same way, and nobody is woken again.
    again = ended(ground, opened(ground, fires("Gone", "hopeless")))
    assert again["reason"].startswith("gave_up:")
    with sqlite3.connect(ground.uici.config / "state" / "uici.db") as connection:
        assert connection.execute("SELECT key FROM outbox WHERE run_id = ?", (again["id"],)).fetchall() == []


@pytest.mark.parametrize(
    ("name", "severity"),
    [("Watchdog", "none"), ("Watchdog", "critical"), ("InfoInhibitor", "warning"), ("ServiceDown", "info")],
)
def test_alerts_that_are_no_trouble_start_nothing(ground: LocalGround, name: str, severity: str) -> None:
    answer = ground.uici.send(payload(fires(name, "plain", severity=severity)))
    assert answer.status_code == 202
    assert answer.json()["incidents"] == []
    assert answer.json()["new"] == 1


def test_an_alert_that_arrives_resolved_starts_nothing(ground: LocalGround) -> None:
    runs = len(ground.uici.get("/runs?limit=500")["runs"])
    before = ground.spawned("plain")
    firing = fires("Gone", "plain")
    answer = ground.uici.send(payload(resolved(firing)))
    assert (answer.status_code, answer.json()["incidents"]) == (202, [])
    # A delivery that was overtaken by the end of its alert starts nothing either.
    late = ground.uici.send(payload(firing))
    assert (late.status_code, late.json()["incidents"]) == (202, [])
    assert len(ground.uici.get("/runs?limit=500")["runs"]) == runs
    assert ground.spawned("plain") == before


def test_of_a_mixed_notification_only_what_fires_is_healed(ground: LocalGround) -> None:
    plain, brake = ground.spawned("plain"), ground.spawned("brake")
    ground.kill("plain")
    ground.kill("brake")
    firing, over = fires("Gone", "plain"), resolved(fires("Gone", "brake"))
    answer = ground.uici.send(payload(over, firing, fires("Watchdog", "brake")))
    (incident,) = answer.json()["incidents"]
    assert incident["target"] == "plain"
    healed(ground, firing, ground.uici.get(f"/incidents/{incident['id']}"), "plain")
    assert (ground.spawned("plain"), ground.spawned("brake")) == (plain + 1, brake)
    ground.start("brake")


def test_an_alert_that_joins_while_people_are_asked_is_part_of_the_incident(ground: LocalGround) -> None:
    first = fires("Stuck", "waiting")
    incident = opened(ground, first)
    asks(ground, incident)
    second = fires("Gone", "waiting")
    assert opened(ground, second)["id"] == incident["id"]
    assert ground.uici.send(payload(resolved(first), resolved(second))).status_code == 202
    assert ended(ground, incident)["outcome"] == "self_resolved"


@pytest.mark.component("payloads")
def test_captured_notifications_are_accepted_and_nothing_is_done(ground: LocalGround) -> None:
    folder = payloads_folder()
    assert folder is not None
    spawned = {target: ground.spawned(target) for target in TARGETS}
    seen = 0
    for file in sorted(folder.glob("*.json")):
        body = json.loads(file.read_text())
        answer = ground.uici.send(body)
        assert answer.status_code == 202, f"{file.name}: {answer.text}"
        accepted = answer.json()
        assert accepted["received"] == len(body["alerts"]), file.name
        assert accepted["truncated"] == body.get("truncatedAlerts", 0), file.name
        if all(one["status"] == "resolved" or one["labels"]["alertname"] == "Watchdog" for one in body["alerts"]):
            assert [one for one in accepted["incidents"] if one["state"] == "open"] == [], file.name
        for incident in accepted["incidents"]:
            seen += 1
            detailed = ground.uici.get(f"/incidents/{incident['id']}")
            # None of them is about a target of this site.
            assert ground.uici.ended(detailed["run"])["outcome"] in ("escalated", "self_resolved"), file.name
            assert detailed["truncated_alerts"] >= body.get("truncatedAlerts", 0), file.name
    assert seen > 0
    assert {target: ground.spawned(target) for target in TARGETS} == spawned


def test_unanswered_questions_expire_and_a_resting_target_is_looked_at_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rest = timedelta(seconds=4)
    policies: JsonObject = {
        "autonomy": "auto",
        "risk": {"auto_approve_up_to": "low"},
        "cooldown": {"seconds": rest.total_seconds()},
        "approval": {"expires_seconds": 1},
    }
    targets = {"tired": program("tired"), "asking": program("asking")}
    folder = tmp_path_factory.mktemp("deadlines")
    with local_ground(folder, targets, policies=policies, strategies=STRATEGIES) as ground:
        # A start of what never ran.
        first = fires("Gone", "tired")
        earlier = healed(ground, first, opened(ground, first), "tired")

        expired = ended(ground, opened(ground, fires("Stuck", "asking")))
        assert (expired["outcome"], expired["calls"]) == ("refused", [])
        assert expired["reason"].startswith("approval_expired")
        assert [item["state"] for item in expired["approvals"]] == ["expired"]
        until(lambda: len(ground.told(expired["id"])) == 2, "people to be asked, and told of the end")
        assert [message["kind"] for message in ground.told(expired["id"])] == ["approval", "refused"]
        assert ground.spawned("asking") == 0

        ground.kill("tired")
        second = fires("Gone", "tired", starts=datetime.now(UTC) + timedelta(milliseconds=1))
        later = healed(ground, second, opened(ground, second), "tired")
        # Held while the target rested, not dropped.
        looked = datetime.fromisoformat(later["first_call_at"])
        assert looked >= datetime.fromisoformat(earlier["ended_at"]) + rest
        assert ground.spawned("tired") == 2
