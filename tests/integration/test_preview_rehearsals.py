"""What a preview says of the platform's own answer to its calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import running, site
from uici.bootstrap import Application, offline_previews
from uici.model.base import JsonObject
from uici.model.call import Call, CallError, FailureKind
from uici.model.rehearsal import ObjectChange, Rehearsal

SCALE = {"steps": [{"operation": "scale_service", "target": "web", "parameters": {"replicas": 3}}]}


def preview(application: Application, plan: JsonObject = SCALE) -> JsonObject:
    (found,) = application.control.preview({"plan": plan}, None)["previews"]
    return dict(found)


def rehearsals(shown: JsonObject) -> list[JsonObject | None]:
    return [call["rehearsal"] for step in shown["steps"] for call in step["calls"]]


def changed(object_: str, field: str, now: object, after: object) -> Rehearsal:
    return Rehearsal(accepted=True, changes=(ObjectChange(object=object_, field=field, now=now, after=after),))


def test_what_the_platform_would_change_is_shown_with_secrets_masked(tmp_path: Path) -> None:
    world = World()
    asked: list[Call] = []

    def answer(call: Call) -> Rehearsal:
        asked.append(call)
        return Rehearsal(
            accepted=True,
            changes=(
                ObjectChange(object="Deployment shop/web", field="spec.replicas", now=1, after=3),
                ObjectChange(object="Deployment shop/web", field="env[API_TOKEN].value", now="first", after="second"),
            ),
            warnings=("policy/v1beta1 is deprecated; password=hunter22",),
        )

    world.rehearsal = answer
    with running(site(tmp_path / "config", "web"), world) as application:
        shown = preview(application)
        (found,) = rehearsals(shown)
        assert found is not None
        assert (found["answer"], shown["outcome"]) == ("accepted", "would run")
        replicas, token = found["changes"]
        assert replicas == {"object": "Deployment shop/web", "field": "spec.replicas", "now": 1, "after": 3}
        assert (token["now"], token["after"]) == ("******", "******")
        assert "hunter22" not in str(shown)
        assert [call.name for call in asked] == ["program.scale"]
        assert asked[0].timeout_seconds <= 10
    assert world.done == []


def test_a_refusal_is_the_outcome_of_the_preview(tmp_path: Path) -> None:
    world = World()
    world.rehearsal = lambda call: Rehearsal(accepted=False, code="forbidden", reason="exceeded quota: pods")
    with running(site(tmp_path / "config", "web"), world) as application:
        shown = preview(application)
        assert shown["outcome"] == "would be refused by the platform"
        (found,) = rehearsals(shown)
        assert found is not None
        assert (found["answer"], found["code"], found["reason"]) == ("refused", "forbidden", "exceeded quota: pods")
        assert any("the platform refuses it: exceeded quota: pods" in note for note in shown["notes"])


def test_what_would_not_be_sent_or_only_reads_is_not_asked_about(tmp_path: Path) -> None:
    world = World()
    asked: list[str] = []
    world.rehearsal = lambda call: asked.append(call.name)
    folder = site(tmp_path / "config", "web")
    with running(folder, world) as application:
        look = {"steps": [{"operation": "check_logs", "target": "web"}]}
        assert rehearsals(preview(application, look)) == [None]
        assert rehearsals(preview(application)) == [None]
        application.control.freeze(True, "ann", "storm")
        shown = preview(application)
        assert shown["outcome"] == "would be refused"
    assert asked == ["program.scale"]


def test_without_the_service_no_platform_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    asked: list[str] = []
    world.rehearsal = lambda call: asked.append(call.name)
    monkeypatch.setattr("uici.bootstrap.application.discover_executors", lambda: {"local": world.executor_class()})
    with offline_previews(site(tmp_path / "config", "web")) as ask:
        (shown,) = ask({"plan": SCALE}, None)["previews"]
    assert "rehearsal" not in shown["steps"][0]["calls"][0]
    assert "the platform is not asked what it would say" in shown["notes"][-1]
    assert asked == []


def _raising(error: Exception) -> Callable[[Call], Rehearsal]:
    def answer(call: Call) -> Rehearsal:
        raise error

    return answer


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (CallError(FailureKind.TEMPORARY, "unreachable", "no route to 10.0.0.1"), "no route to 10.0.0.1"),
        (ZeroDivisionError("a defect"), "the executor failed: ZeroDivisionError"),
    ],
)
def test_a_platform_that_cannot_be_asked_degrades_this_part_alone(tmp_path: Path, error: Exception, told: str) -> None:
    world = World()
    world.rehearsal = _raising(error)
    with running(site(tmp_path / "config", "web"), world) as application:
        shown = preview(application)
        (found,) = rehearsals(shown)
        assert found is not None
        assert (found["answer"], shown["outcome"]) == ("unknown", "would run")
        assert told in found["reason"]
        assert shown["guards"]
        assert shown["steps"][0]["changes"]


def test_a_platform_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    world, over = World(), threading.Event()
    first: list[Call] = []

    def answer(call: Call) -> Rehearsal | None:
        if first:
            over.wait(60)
        first.append(call)
        return changed("Deployment shop/web", "spec.replicas", 1, call.arguments["replicas"])

    world.rehearsal = answer
    folder = site(tmp_path / "config", "web")
    (folder / "platform.yml").write_text("runs: {rehearsal_seconds: 0.3}\n")
    with running(folder, world) as application:
        plan = {"steps": [SCALE["steps"][0], {**SCALE["steps"][0], "parameters": {"replicas": 4}}]}
        shown = preview(application, plan)
        over.set()
        one, two = rehearsals(shown)
        assert one is not None
        assert two is not None
        assert (one["answer"], two["answer"]) == ("accepted", "unknown")
        assert two["reason"] == "the platform did not answer within 0.3 s"
        assert "no call saw what those before it do" in shown["notes"][-1]
        assert shown["outcome"] == "would run"


def test_a_call_that_selects_from_an_earlier_result_is_not_asked_about(tmp_path: Path) -> None:
    world = World()
    world.rehearsal = lambda call: changed("Deployment shop/web", "spec.replicas", 1, 3)
    folder = site(tmp_path / "config", "web")
    (folder / "operations").mkdir(exist_ok=True)
    (folder / "operations" / "scale_like.yml").write_text(
        """
operation:
  summary: As many as there should be
  risk: medium
  mutates: true
  reversible: false
  irreversible_because: it is as it was
translations:
  docker: {unsupported: it is for this test}
  local:
    calls:
      - {id: status, call: program.status, arguments: {target: "${target}"}}
      - {id: scale, call: program.scale, arguments: {target: "${target}", replicas: "${calls.status.desired}"}}
tests:
  - name: both
    platform: local
    target: {program: web}
    expect:
      - {call: program.status, arguments: {target: {program: web}}}
      - {call: program.scale, arguments: {target: {program: web}, replicas: {$select: calls.status.desired}}}
"""
    )
    with running(folder, world) as application:
        status, scale = rehearsals(preview(application, {"steps": [{"operation": "scale_like", "target": "web"}]}))
        assert status is None
        assert scale is not None
        assert scale["answer"] == "unknown"
        assert scale["reason"] == "not asked: it takes values from an earlier call's result"
