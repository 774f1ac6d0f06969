"""What a whole UICI leaves in its audit log, and the commands and routes that show and prove it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner, Result

from tests.doubles.memory_executor import World
from tests.integration import runs_rig as rig
from tests.integration.service_rig import PLATFORM, serving
from tests.waiting import until
from uici.access.roles import Role
from uici.audit.denials import Denial
from uici.audit.verifying import rows, verify_stored
from uici.bootstrap import Application
from uici.cli.app import app
from uici.model.base import JsonObject
from uici.store.audited import audit
from uici.store.schema import events

AT_ONCE = rig.LADDER.replace("stable_for: 0.1, confirm_within: 60", "stable_for: 0, confirm_within: 0")


def entries(application: Application) -> list[JsonObject]:
    with application.store.read() as connection:
        assert verify_stored(connection, None).problem is None
        return list(rows(connection))


def test_a_healing_leaves_every_decision_in_its_order(tmp_path: Path) -> None:
    config = rig.site(tmp_path / "site", "web", strategies=AT_ONCE)
    with rig.running(config, World()) as application:
        incident = rig.closed(application, rig.send(application, rig.alert("web")))
        found = [row for row in entries(application) if row["run_id"] is not None]
        with application.store.read() as connection:
            told = connection.execute(select(events.c.type).where(events.c.type.in_({row["kind"] for row in found})))
            assert sorted(told.scalars()) == sorted(row["kind"] for row in found)
    assert [row["kind"] for row in found] == ["guarded", "call_sent", "call_done", "verified", "run_ended"]
    assert {row["incident_id"] for row in found} == {incident["id"]}
    assert {row["actor"] for row in found} == {"uici"}
    cid = json.loads(found[0]["data"])["cid"]
    # Which call of which plan.
    assert json.loads(found[1]["data"])["position"].startswith(f"do:{cid}:")


def waiting(application: Application, run: str) -> JsonObject | None:
    shown = application.control.run(run)
    return shown if shown["waiting_for"] == "approval" else None


def test_who_asked_and_who_answered_is_in_it(tmp_path: Path) -> None:
    policies = rig.POLICIES.replace("autonomy: auto", "autonomy: approve")
    config = rig.site(tmp_path / "site", "web", strategies=AT_ONCE, policies=policies)
    with rig.running(config, World()) as application:
        control = application.control
        control.freeze(True, "ann#1", "maintenance")
        control.freeze(False, "bob#2", "over")
        accepted = rig.send(application, rig.alert("web"))
        incident = rig.incident_of(application, accepted)
        run = until(lambda: waiting(application, incident["run"]), "the run to ask for approval")
        control.reject(run["id"], run["cid"], "cid#3", "password=hunter22 looks wrong")
        rig.closed(application, accepted)
        found = {(row["kind"], row["actor"]) for row in entries(application)}
        (rejected,) = (row for row in entries(application) if row["kind"] == "rejected")
    assert {
        ("service_started", "uici"), ("frozen", "ann#1"), ("unfrozen", "bob#2"), ("approval_requested", "uici"),
        ("rejected", "cid#3"),
    } <= found  # fmt: skip
    assert "hunter22" not in rejected["data"]


def test_two_hundred_alerts_add_nothing_and_cost_nothing(tmp_path: Path) -> None:
    config = rig.site(tmp_path / "site", *(f"web{number}" for number in range(20)))
    with rig.running(config, World()) as application:
        rig.send(application, *(rig.alert(f"web{number}", "Unknown") for number in range(20)))
        with application.store.read() as connection:
            query = select(func.count()).select_from(audit).where(audit.c.run_id.is_(None))
            assert connection.execute(query).scalar_one() == 1  # the start


def test_the_commands_prove_and_export_and_the_route_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_KEY", "a key that nobody knows")
    with serving(tmp_path, platform=PLATFORM + "\naudit: {seal: '${env:AUDIT_KEY}'}\n") as served:
        assert served.as_admin("POST", "/api/v1/freeze", json={"frozen": True, "reason": "r"}).status_code == 200
        state = ("--config", str(tmp_path / "config"), "--state", f"sqlite:///{tmp_path / 'state' / 'uici.db'}")

        def audit(*arguments: str) -> Result:
            return CliRunner().invoke(app, ["audit", *arguments])

        head = audit("head", *state).stdout.strip()
        proved = audit("verify", *state, "--expect", head)
        assert proved.exit_code == 0, proved.output
        assert proved.stdout.startswith("proved: ")
        lines = audit("export", *state).stdout
        frozen = next(json.loads(line) for line in lines.splitlines() if '"frozen"' in line)
        assert (frozen["kind"], frozen["actor"].partition("#")[0]) == ("frozen", "the admin")
        later = audit("export", *state, "--after", str(frozen["seq"] - 1), "--from", "2026-01-01").stdout.splitlines()
        assert json.loads(later[0]) == frozen
        assert audit("export", *state, "--to", "2020-01-01T00:00:00Z").stdout == ""
        file = tmp_path / "export"
        file.write_text(lines)
        assert audit("verify", "--file", str(file), "--expect", head).exit_code == 0
        file.write_text(lines.replace('"reason":"r"', '"reason":"s"'))
        refused = audit("verify", "--file", str(file), "-o", "json")
        assert refused.exit_code == 1
        assert "was changed" in json.loads(refused.stdout)["problem"]
        for wrong in (("head", "--state", "x"), ("verify", "--expect", "1:2"), ("export", "--from", "soon"),
                      ("verify", "--file", "/nowhere")):  # fmt: skip
            assert audit(*wrong).exit_code == 2

        for role in Role:
            allowed = role in (Role.ADMIN, Role.AUDITOR)
            assert served.request("GET", "/api/v1/audit", served.tokens[role]).status_code == (200 if allowed else 403)
        page = served.as_admin("GET", "/api/v1/audit", params={"limit": 1}).json()
        assert page["entries"] == [json.loads(lines.splitlines()[0])]
        assert page["next"] == 1
        assert served.as_admin("GET", "/api/v1/audit", params={"after": 1}).json()["entries"][0]["seq"] == 2
        assert served.as_admin("GET", "/api/v1/audit/head").json()["hash"] == head.partition(":")[2]

        monkeypatch.setenv("AUDIT_KEY", "another")
        assert "another key" in audit("verify", *state).stdout


def test_who_is_turned_away_is_counted_and_the_many_are_added_up(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        for _ in range(7):
            assert served.request("GET", "/api/v1/runs/x", "wrong").status_code == 401
        assert served.request("GET", "/api/v1/audit", served.tokens[Role.VIEWER]).status_code == 403
        assert served.request("GET", "/api/v1/audit").status_code == 401
        denials = served.application.control.denials
        denials.write()
        found = entries(served.application)
        for number in range(2000):
            denials.note(Denial(kind="authentication_failed", actor="unknown", client=f"{number}", route="r", code="c"))
        denials.write()
        more = entries(served.application)[len(found) :]
    said = {(row["kind"], row["actor"].partition("#")[0]): json.loads(row["data"]) for row in found[-3:]}
    wrong = json.loads(found[-3]["data"])
    assert (wrong["count"], wrong["route"], wrong["client"]) == (7, "GET /api/v1/runs/{run_id}", "127.0.0.1")
    assert said["permission_denied", "the viewer"]["code"] == "permission_missing"
    assert said["authentication_failed", "unknown"]["code"] == "no_token"
    assert len(more) == 6
    assert more[-1]["kind"] == "more_denied"
    assert json.loads(more[-1]["data"])["count"] == 1995


def test_that_people_were_told_is_in_it(tmp_path: Path) -> None:
    config = rig.site(tmp_path / "site", "web")
    with rig.running(config, World()) as application:
        incident = rig.closed(application, rig.send(application, rig.alert("web", "Unknown")))
        until(lambda: any(row["kind"] == "people_told" for row in entries(application)), "people to be told")
        (told,) = (row for row in entries(application) if row["kind"] == "people_told")
    assert told["incident_id"] == incident["id"]
    assert json.loads(told["data"]) == {"about": "escalation", "channel": "log", "message": 1}
