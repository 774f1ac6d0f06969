"""Who asks the layers of the self-target guard on the road from an alert to a call: each layer alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import POLICIES, alert
from uici.bootstrap import Application
from uici.intake.payload import parse_notification
from uici.intake.recording import Batch
from uici.intake.targeting import TargetIndex
from uici.model.alert import Alert, AlertOutcome, Notification
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind
from uici.model.council import CouncilSettings
from uici.model.errors import Problem, ProblemKind
from uici.model.filling import IncidentValues
from uici.model.identity import SelfGuardLayers
from uici.model.plan import Origin, Step
from uici.model.verdict import Answer
from uici.planning.council.answers import Act
from uici.planning.council.asking import Reply
from uici.planning.council.prompt import Question
from uici.runs import choosing, preview
from uici.runs.consultation import Consultation
from uici.runs.data import RunData, Stage
from uici.runs.services import Services
from uici.runs.stages import consulting, planning
from uici.runs.stages.acting import _again_or_failed, _unsuccessful
from uici.runs.stages.consulting import Answered
from uici.store.schema import events, incidents, outbox

NONE = {"intake": False, "planning": False, "translation": False, "executor": False}
TARGETS = """
targets:
  uici: {bindings: {local: {program: healer, command: [/bin/true]}}}
  web: {bindings: {local: {program: web, command: [/bin/true]}}}
"""
STRATEGIES = """
strategies:
  down: {match: ['alertname="Down"'], remedies: [{name: restart, steps: [restart_service]}]}
"""
Make = Callable[..., Application]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    folder = tmp_path_factory.mktemp("layers") / "site"
    folder.mkdir()
    for name, text in {"targets": TARGETS, "strategies": STRATEGIES, "policies": POLICIES}.items():
        (folder / f"{name}.yml").write_text(text)
    made: dict[str, Application] = {}

    def application(layer: str) -> Application:
        """Nothing runs in it; only this layer is on."""
        if layer not in made:
            layers = SelfGuardLayers(**{**NONE, **({layer: True} if layer else {})})
            scratch = tmp_path_factory.mktemp("state")
            classes = {"local": World().executor_class()}
            made[layer] = Application(folder, scratch=scratch, layers=layers, executors=classes)
        return made[layer]

    yield application
    for one in made.values():
        one.store.close()


def recorded(uici: Application, *alerts: Alert) -> tuple[JsonObject, list[str], list[str]]:
    """The one incident that the alerts made, the types of the events, and the kinds of the messages."""
    services = uici.services
    notification = Notification(receiver="uici", group_key="{}", external_url="", alerts=alerts, truncated_alerts=0)
    with services.events.writing() as connection:
        index = TargetIndex(services.site())
        batch = Batch(
            connection,
            services.events,
            services.site(),
            index,
            services.identity,
            services.layers,
            services.clock.now(),
        )
        batch.load([notification])
        _, touched = batch.add(notification, "test")
        batch.flush()
    with services.store.read() as connection:
        row = connection.execute(select(incidents).where(incidents.c.id == touched[0])).one()
        seen = [item.type for item in connection.execute(select(events.c.type).where(events.c.incident_id == row.id))]
        told = [item.kind for item in connection.execute(select(outbox.c.kind).where(outbox.c.incident_id == row.id))]
    return dict(row._mapping), seen, told


def test_the_intake_refuses_an_alert_about_uici_and_tells_people(make: Make) -> None:
    incident, seen, told = recorded(make("intake"), alert("uici"))
    assert (incident["state"], incident["outcome"], incident["run_id"]) == ("closed", "refused", None)
    assert "self_target" in incident["reason"]
    assert (seen, told) == (["incident_refused"], ["refused"])


def test_the_intake_opens_an_incident_for_others_and_with_its_layer_off(make: Make) -> None:
    for uici, name in ((make("intake"), "web"), (make(""), "uici")):
        incident, seen, told = recorded(uici, alert(name))
        assert (incident["state"], incident["outcome"]) == ("open", None)
        assert incident["run_id"]
        assert (seen, told) == (["incident_opened"], [])


def run(target: str) -> RunData:
    return RunData(
        run_id="run_x", part=0, stage=Stage.PLAN, origin=Origin.RULE, environment="local", target=target,
        strategy="down",
    )  # fmt: skip


def test_planning_refuses_a_remedy_on_uici_and_translation_would(make: Make) -> None:
    for layer in ("planning", "translation"):
        after = planning.plan(make(layer).services, run("uici"))
        assert (after.stage, after.outcome) == (Stage.CLOSE, AlertOutcome.REFUSED), layer
        assert after.reason.startswith("self_target"), layer
        assert after.cid is None
    for layer, target in (("planning", "web"), ("translation", "web"), ("", "uici")):
        assert planning.plan(make(layer).services, run(target)).stage is Stage.GUARD


def forgotten(uici: Application) -> Services:
    """As with a configuration that lacks the remedy's verb."""
    left = {name: verb for name, verb in uici.site.operations.items() if name != "restart_service"}
    site = uici.site.model_copy(update={"operations": left})
    services = uici.services
    return dataclasses.replace(services, site=lambda: site, platforms=services.platforms.seen_through(site))


def test_a_remedy_that_cannot_be_translated_is_passed_over_not_refused(make: Make) -> None:
    after = planning.plan(forgotten(make("planning")), run("web"))
    assert (after.stage, after.outcome) == (Stage.PLAN, None)


def planned_by_a_model(services: Services, target: str) -> RunData:
    """The run after a model has answered with a restart of the target."""
    step = Step(operation="restart_service", target=target)
    answered = Answered(
        asked=Question(messages=(), schema_={}, digest="sha256:0"),
        reply=Reply(text="{}", cut_off=False, model="m", read=None, written=None, cost_usd=None),
        seconds=0.0,
    )
    talk = Consultation(because="no_strategy", since=services.clock.now())
    settings = CouncilSettings(url="http://127.0.0.1:1/v1")
    data = run(target).to(Stage.CONSULT, strategy=None, consultation=talk)
    return consulting.planned_by(services, data, talk, Act("because", (step,)), settings, answered)


def test_a_models_plan_on_uici_is_refused_by_planning_and_by_translation(make: Make) -> None:
    for layer in ("planning", "translation"):
        after = planned_by_a_model(make(layer).services, "uici")
        assert (after.stage, after.outcome) == (Stage.CLOSE, AlertOutcome.REFUSED), layer
        assert after.reason.startswith("self_target"), layer
    for layer, target in (("planning", "web"), ("translation", "web"), ("", "uici")):
        assert planned_by_a_model(make(layer).services, target).stage is Stage.GUARD


def test_a_models_plan_that_cannot_be_translated_goes_back_to_it(make: Make) -> None:
    after = planned_by_a_model(forgotten(make("planning")), "web")
    assert (after.stage, after.outcome) == (Stage.CONSULT, None)
    assert after.consultation is not None
    assert after.consultation.unusable is not None
    assert "cannot be translated" in after.consultation.unusable.findings[0]


def written(target: str) -> JsonObject:
    return {"plan": {"environment": "local", "steps": [{"operation": "restart_service", "target": target}]}}


def test_a_persons_plan_about_uici_is_not_even_begun(make: Make) -> None:
    for layer in ("planning", "translation"):
        with pytest.raises(Problem) as caught:
            make(layer).control.start(written("uici"), "ann")
        assert (caught.value.kind, caught.value.code) == (ProblemKind.FORBIDDEN, "self_target")
        assert make(layer).control.runs(None, 10, None) == []
    begun = make("planning").control.start(written("web"), "ann")
    assert begun["state"] == "waiting"


def firing(target: str) -> JsonObject:
    return {
        "version": "4", "status": "firing", "receiver": "uici", "groupKey": "{}", "groupLabels": {},
        "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "truncatedAlerts": 0,
        "alerts": [
            {"status": "firing", "labels": {"alertname": "Down", "uici_target": target}, "annotations": {},
             "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "",
             "fingerprint": "0a"}
        ],
    }  # fmt: skip


def shown(uici: Application, document: JsonObject) -> Any:
    (preview,) = uici.control.preview(document, None)["previews"]
    return preview


def test_a_preview_says_which_layer_refuses(make: Make) -> None:
    at_the_door = shown(make("intake"), firing("uici"))
    assert (at_the_door["outcome"], at_the_door["plan"]) == ("refused", None)
    assert "self_target" in at_the_door["notes"][0]
    for document in (firing("uici"), written("uici")):
        planned = shown(make("planning"), document)
        assert (planned["outcome"], planned["answer"], planned["steps"]) == ("refused", Answer.DENY, [])
        (own,) = planned["guards"]
        assert (own["guard"], own["rule"], own["answer"]) == ("self-target", "planning", "deny")
    translated = shown(make("translation"), firing("uici"))
    assert (translated["outcome"], translated["steps"]) == ("refused", [])
    assert "layer translation" in translated["notes"][0]


def test_a_preview_of_others_and_with_all_layers_off_goes_on(make: Make) -> None:
    for layer, target in (("intake", "web"), ("planning", "web"), ("translation", "web"), ("", "uici")):
        assert shown(make(layer), firing(target))["steps"], (layer, target)
    notification = parse_notification(json.dumps(firing("web")).encode(), max_depth=20)
    (passed_over,) = preview.of_notification(forgotten(make("translation")), notification, None)["previews"]
    assert passed_over["outcome"] == "escalated"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CallError(FailureKind.PERMANENT, "self_target", "it is UICI"), AlertOutcome.REFUSED),
        (CallError(FailureKind.PERMANENT, "gitops_owned", "it is Git's"), AlertOutcome.ESCALATED),
        (CallError(FailureKind.TEMPORARY, "busy", "later"), None),
        (Problem(ProblemKind.UNPROCESSABLE, "selection_missing", "nothing there"), None),
        (Problem(ProblemKind.FORBIDDEN, "self_target", "said before the executor was asked"), None),
    ],
)
def test_the_executors_refusal_ends_the_run_as_refused(
    make: Make, error: CallError | Problem, outcome: AlertOutcome | None
) -> None:
    acting = run("web").to(Stage.CAPTURE)
    assert _again_or_failed(make("").services, acting, "why", error).outcome is outcome


OURS, THEIRS = "self_target: it is UICI", "gitops_owned: it is Git's"


@pytest.mark.parametrize(
    ("reason", "before", "outcome"),
    [
        (OURS, {}, AlertOutcome.REFUSED),
        (THEIRS, {}, AlertOutcome.ESCALATED),
        # "Refused" says that nothing was done, which an earlier remedy of the run belies.
        (OURS, {"acted": True, "acted_with": ("a",), "tried": ("a", "b")}, AlertOutcome.ESCALATED),
        (OURS, {"acted": True, "acted_with": ("b",), "tried": ("b",)}, AlertOutcome.REFUSED),
        (OURS, {"origin": Origin.HUMAN}, AlertOutcome.REFUSED),
        (THEIRS, {"origin": Origin.HUMAN}, None),
        (OURS, {"undoing": True}, AlertOutcome.ESCALATED),
        (THEIRS, {"undoing": True}, AlertOutcome.ESCALATED),
    ],
)
def test_a_step_that_is_not_ours_to_do_ends_the_run(
    make: Make, reason: str, before: JsonObject, outcome: AlertOutcome | None
) -> None:
    acting = run("web").to(Stage.CAPTURE, **before)
    # Neither plan nor call is looked at where nothing came before.
    nothing: Any = None
    ended = _unsuccessful(make("").services, acting, nothing, nothing, "failed", reason)
    assert ended.outcome is outcome
    assert ended.reason == (f"undo failed: {reason}" if "undoing" in before else reason)


def test_all_layers_are_on_without_a_test(make: Make, tmp_path: Path) -> None:
    assert set(make("").services.layers.model_dump().values()) == {False}
    usual = Application(None, scratch=tmp_path)
    assert set(usual.services.layers.model_dump().values()) == {True}
    usual.store.close()


def test_a_remedy_on_uici_is_no_alternative(make: Make) -> None:
    for layer, name, left_out in (("planning", "uici", True), ("planning", "web", False), ("", "uici", False)):
        services = make(layer).services
        binding = services.site().targets[name].bindings["local"]
        values = IncidentValues(labels={}, binding=binding, environment="local", target=name)
        situation = choosing.Situation("down", values, frozenset(), (), "run_x", "a test")
        found = dataclasses.replace(choosing.next_plans(services, services.platforms, situation), group="all")
        seen = choosing.alternatives(services, services.platforms, situation, found, lambda _: True)
        assert ("restart" in seen.masked and "self-target" in seen.masked["restart"]) is left_out, (layer, name)
