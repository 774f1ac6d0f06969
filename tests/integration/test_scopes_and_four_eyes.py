"""A sender reports only what its credential covers; who asked for something destructive does not allow it too."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import DEADLINE, POLICIES, alert, closed, ended, run_of, running, site, told
from tests.integration.test_runs_interrupted import once
from tests.waiting import until
from uici.bootstrap import Application
from uici.intake.payload import fingerprint_of
from uici.intake.writer import Accepted
from uici.model.alert import Alert, AlertStatus, Notification
from uici.model.errors import Problem
from uici.model.scope import EVERYTHING, Scope

SHOP = Scope(environments=("local",), targets=("shop*",))
DESTRUCTIVE = """
operation:
  summary: Begin anew, as only these tests do
  risk: destructive
  mutates: true
  parameters: {}
  reversible: false
  irreversible_because: what was there is gone
translations:
  local: {calls: [{call: program.restart, arguments: {target: "${target}"}}]}
tests:
  - name: the program starts again
    platform: local
    target: {program: web}
    expect: [{call: program.restart, arguments: {target: {program: web}}}]
"""
LADDER = """
strategies:
  down:
    match: ['alertname="Down"']
    remedies:
      - {name: anew, steps: [begin_anew], verify: {within: 1, stable_for: 0.1, confirm_within: 0, interval: 0.1}}
"""


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def uici(tmp_path: Path, world: World) -> Iterator[Application]:
    config = site(tmp_path / "c", "shop", "billing", strategies=LADDER, policies=POLICIES)
    (config / "operations").mkdir()
    (config / "operations" / "begin_anew.yml").write_text(DESTRUCTIVE)
    with running(config, world) as application:
        yield application


def send(uici: Application, scope: Scope, *alerts: Alert, sender: str = "am#1") -> Accepted:
    notification = Notification(receiver="uici", group_key="{}", external_url="", alerts=alerts, truncated_alerts=0)
    return uici.control.submit(notification, sender, scope).result(DEADLINE)


def test_what_is_outside_is_kept_and_refused_and_told_beside_what_is_inside(uici: Application) -> None:
    accepted = send(uici, SHOP, alert("shop"), alert("billing"), alert("nobody"))
    assert (accepted.received, accepted.new, accepted.refused) == (3, 3, 2)
    inside, billing, unknown = accepted.incidents
    assert (inside.target, inside.outcome) == ("shop", None)
    assert (billing.target, billing.outcome) == ("billing", "refused")
    assert (unknown.target, unknown.outcome) == (None, "refused")
    reason = uici.control.incident(billing.id)["reason"]
    assert reason.startswith("out_of_scope: am#1 may not report about billing in local")
    messages = [message for message in told(uici) if "credential" in message["title"]]
    assert len(messages) == 1, "once an hour, however often it is wrong"
    again = send(uici, SHOP, alert("shop"), alert("billing"), alert("nobody"))
    assert (again.new, again.refused) == (0, 2)


def test_who_may_report_it_still_can(uici: Application) -> None:
    refused = send(uici, SHOP, alert("billing")).incidents[0]
    accepted = send(uici, EVERYTHING, alert("billing"), sender="am#2").incidents[0]
    assert refused.id != accepted.id
    assert accepted.outcome is None


def test_a_forged_fingerprint_ends_nobody_elses_alert(uici: Application) -> None:
    labels = {"alertname": "Down", "uici_target": "billing"}
    true = replace(alert("billing"), fingerprint=fingerprint_of(labels))
    accepted = send(uici, EVERYTHING, true, sender="am#2")
    forged = replace(alert("shop"), fingerprint=true.fingerprint, status=AlertStatus.RESOLVED)
    outside = replace(true, status=AlertStatus.RESOLVED)
    assert send(uici, SHOP, forged, outside).refused == 1
    (kept,) = uici.control.incident(accepted.incidents[0].id)["alerts"]
    assert (kept["status"], kept["deliveries"]) == ("firing", 1)
    resolved = replace(true, status=AlertStatus.RESOLVED)
    send(uici, EVERYTHING, resolved, sender="am#2")
    (kept,) = uici.control.incident(accepted.incidents[0].id)["alerts"]
    assert kept["status"] == "resolved"


PLAN = {"plan": {"environment": "local", "steps": [{"operation": "begin_anew", "target": "shop"}]}}


def test_who_gave_a_destructive_plan_does_not_allow_it(uici: Application, world: World) -> None:
    run = uici.control.start(PLAN, "ann#1")["id"]
    until(lambda: uici.control.run(run)["waiting_for"] == "approval", "the question")
    cid = uici.control.run(run)["cid"]
    for approver in ("ann#1", "ann#2", "ANN#3", "other#1"):
        with pytest.raises(Problem) as caught:
            uici.control.approve(run, cid, approver, "")
        assert caught.value.code == "four_eyes"
    assert uici.control.run(run)["approvals"][0]["state"] == "pending"
    uici.control.approve(run, cid, "bob#9", "")
    assert ended(uici, run)["verdict"] == "effective"
    assert world.changes("shop") == ["program.restart"]


def test_who_gave_it_may_withdraw_it(uici: Application, world: World) -> None:
    run = uici.control.start(PLAN, "ann#1")["id"]
    until(lambda: uici.control.run(run)["waiting_for"] == "approval", "the question")
    uici.control.reject(run, uici.control.run(run)["cid"], "ann#1", "a mistake")
    assert ended(uici, run)["outcome"] == "refused"
    assert world.changes("shop") == []


def test_who_reported_the_alert_does_not_allow_the_destructive_remedy(uici: Application, world: World) -> None:
    world.service("shop").state = "exited"
    accepted = send(uici, EVERYTHING, alert("shop"), sender="ann#1")
    until(lambda: run_of(uici, accepted)["waiting_for"] == "approval", "the question")
    run = run_of(uici, accepted)
    with pytest.raises(Problem) as caught:
        uici.control.approve(run["id"], run["cid"], "ann#7", "")
    assert caught.value.code == "four_eyes"
    with pytest.raises(Problem) as caught:
        uici.control.approve(run["id"], run["cid"], "bob#2", "", Scope.model_validate({"highest_risk": "high"}))
    assert caught.value.code == "out_of_scope"
    uici.control.approve(run["id"], run["cid"], "bob#2", "")
    assert closed(uici, accepted)["outcome"] in ("healed", "escalated")
    assert world.changes("shop") == ["program.restart"]


def test_freezing_what_is_in_scope_stops_that_and_nothing_else(uici: Application, world: World) -> None:
    control = uici.control
    frozen = control.freezes.set(True, "ann#1", "maintenance", SHOP)
    assert not frozen["frozen"], "nobody else's"
    assert [each["targets"] for each in frozen["partial"]] == [["shop*"]]

    def restarted(target: str) -> str:
        step = {"operation": "restart_service", "target": target}
        run = control.start({"plan": {"environment": "local", "steps": [step]}}, "ann#1")["id"]
        return str(ended(uici, run)["reason"])

    assert "freeze: everything is frozen by ann#1: environments local; targets shop*: maintenance" in restarted("shop")
    assert "freeze" not in restarted("billing")
    assert (world.changes("shop"), world.changes("billing")) == ([], ["program.restart"])
    for beyond in ("*", "b*", "billing", "sho*"):
        with pytest.raises(Problem) as caught:
            control.freezes.set(True, "ann#1", "", SHOP, None, beyond)
        assert caught.value.code == "out_of_scope"
    # Everything is lifted by who may freeze everything, and what is frozen by patterns by the same ones.
    assert control.freezes.set(False, "bob#2", "")["partial"]
    control.freezes.set(True, "ann#1", "", SHOP, None, "shop")
    assert len(control.freezes.set(True, "ann#1", "again", SHOP, None, "shop")["partial"]) == 2
    assert control.freezes.set(False, "ann#1", "over", SHOP)["partial"] == []
    assert "freeze" not in restarted("shop")


def test_a_freeze_between_the_guards_and_the_call_counts(uici: Application, world: World) -> None:
    once(world, "before", "program.restart", lambda: uici.control.freezes.set(True, "ann#1", "now", SHOP))
    steps = [{"operation": "restart_service", "target": "shop"}] * 2
    run = uici.control.start({"plan": {"environment": "local", "steps": steps}}, "ann#1")["id"]
    assert "frozen by ann#1" in ended(uici, run)["reason"]
    assert len(world.changes("shop")) <= 1
