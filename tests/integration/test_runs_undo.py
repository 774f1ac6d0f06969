"""What runs change, what they put back, and how people see both."""

from pathlib import Path

import pytest

from tests.doubles.memory_executor import BAD, World
from tests.integration.runs_rig import POLICIES, alert, closed, ended, running, send, site, told
from tests.integration.test_runs_interrupted import UNDONE, once, plan
from uici.model.base import JsonObject
from uici.model.call import Call, CallError, FailureKind

WITHOUT_ASKING = POLICIES + "risk: {auto_approve_up_to: high}\n"


@pytest.fixture
def world() -> World:
    world = World()
    world.service("web").state = "running"
    return world


def seen(run: JsonObject) -> list[tuple[str, str, object, object]]:
    return [(row["what"], row.get("value", ""), row.get("before"), row.get("now")) for row in run["changes"]]


def deploy(version: str, **more: object) -> dict[str, object]:
    wanted = plan({"operation": "deploy_version", "parameters": {"version": version}})
    assert isinstance(wanted["plan"], dict)
    wanted["plan"] |= more
    return wanted


def test_a_run_shows_what_it_changed_and_that_undo_restored_it(tmp_path: Path, world: World) -> None:
    world.service("web").healthy_when_running = False
    with running(site(tmp_path / "c", "web", strategies=UNDONE), world) as application:
        incident = closed(application, send(application, alert("web")))
        run = application.control.run(incident["run"])
    assert seen(run) == [("changed", "replicas", 1, 3), ("restored", "", None, None)]


def test_changed_variables_are_shown_one_by_one_and_secrets_are_not(tmp_path: Path, world: World) -> None:
    world.service("web").environment = {"MODE": "a", "DB_PASSWORD": "old-secret"}
    change = {"environment": {"DB_PASSWORD": "new-secret", "LEVEL": "2"}, "remove": ["MODE"]}
    with running(site(tmp_path / "c", "web"), world) as application:
        run = application.control.start(plan({"operation": "set_configuration", "parameters": change}), "ann")
        run = ended(application, run["id"])
    assert seen(run) == [
        ("changed", "environment.DB_PASSWORD", "******", "******"),
        ("changed", "environment.LEVEL", None, "2"),
        ("changed", "environment.MODE", "a", None),
    ]


def test_a_deployment_by_hand_that_does_not_become_healthy_is_returned(tmp_path: Path, world: World) -> None:
    quick = {"within": 0.3, "stable_for": 0, "interval": 0.05}
    with running(site(tmp_path / "c", "web", policies=WITHOUT_ASKING), world) as application:
        run = ended(application, application.control.start(deploy(BAD, verify=quick), "ann")["id"])
        messages = told(application)
    assert run["verdict"] == "ineffective"
    assert "not healthy within 0.3 s" in run["reason"]
    assert seen(run) == [("changed", "version", "good", BAD), ("restored", "", None, None)]
    assert world.service("web").version == "good"
    assert [message["kind"] for message in messages] == ["escalation"]


def test_a_deployment_by_hand_is_gated_without_being_asked(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web", policies=WITHOUT_ASKING), world) as application:
        run = ended(application, application.control.start(deploy("better"), "ann")["id"])
        events = application.control.events(run=run["id"], incident=None, after=0, limit=100)
    assert (run["verdict"], run["reason"]) == ("effective", "every step was carried out, and web is healthy")
    assert [event.data["verdict"] for event in events if event.type == "verified"] == ["effective"]
    assert world.service("web").version == "better"


def test_a_change_by_hand_without_a_gate_may_leave_the_target_ill(tmp_path: Path, world: World) -> None:
    world.service("web").healthy_when_running = False
    with running(site(tmp_path / "c", "web"), world) as application:
        wanted = plan({"operation": "scale_service", "parameters": {"replicas": 2}})
        run = ended(application, application.control.start(wanted, "ann")["id"])
    assert run["verdict"] == "effective"
    assert world.service("web").replicas == 2


IMPOSSIBLE_FIRST = """
strategies:
  down:
    match: ['alertname="Down"']
    diagnose: [get_service_status]
    remedies:
      - name: take_it_out
        steps: [drain_backend]
      - name: another_version
        steps: [{operation: deploy_version, parameters: {version: no-such-version}}]
      - name: restart
        steps: [restart_service]
        verify: {within: 1, stable_for: 0.1, confirm_within: 0, interval: 0.1}
"""


def test_a_remedy_that_the_binding_rules_out_leaves_the_next_one(tmp_path: Path, world: World) -> None:
    world.service("web").state = "exited"
    config = site(tmp_path / "c", "web", strategies=IMPOSSIBLE_FIRST, policies=WITHOUT_ASKING)
    with running(config, world) as application:
        incident = closed(application, send(application, alert("web")))
        events = application.control.events(run=incident["run"], incident=None, after=0, limit=200)
    assert world.changes("web") == ["program.restart"]
    told = [(event.data["remedy"], event.data["code"]) for event in events if event.type == "remedy_impossible"]
    assert told == [("take_it_out", "no_backend"), ("another_version", "unknown_version")]


def test_a_ladder_of_nothing_but_impossible_remedies_says_why(tmp_path: Path, world: World) -> None:
    ladder = IMPOSSIBLE_FIRST.partition("      - name: restart")[0]
    config = site(tmp_path / "c", "web", strategies=ladder, policies=WITHOUT_ASKING)
    world.service("web").healthy_when_running = False
    with running(config, world) as application:
        incident = closed(application, send(application, alert("web")))
    assert incident["outcome"] == "escalated"
    assert "take_it_out: it cannot be translated" in incident["reason"]
    assert "has no `backend` in its binding" in incident["reason"]
    assert world.changes("web") == []


def test_a_preview_shows_the_remedy_that_a_run_would_come_to(tmp_path: Path, world: World) -> None:
    world.service("web").state = "exited"
    config = site(tmp_path / "c", "web", strategies=IMPOSSIBLE_FIRST, policies=WITHOUT_ASKING)
    with running(config, world) as application:
        incident = closed(application, send(application, alert("web")))
        world.service("web").state = "exited"
        (shown,) = application.control.preview({"incident": incident["id"]}, None)["previews"]
    assert shown["remedy"] == "restart"
    left_out = [note for note in shown["notes"] if "cannot be translated" in note]
    assert [note.partition(":")[0] for note in left_out] == ["take_it_out", "another_version"]


HELPLESS_THEN_IMPOSSIBLE = """
strategies:
  down:
    match: ['alertname="Down"']
    diagnose: [get_service_status]
    remedies:
      - name: restart
        steps: [restart_service]
        verify: {within: 0.3, stable_for: 0.1, confirm_within: 0, interval: 0.05}
      - name: take_it_out
        steps: [drain_backend]
"""


def test_what_could_not_be_translated_is_neither_told_nor_learned_as_tried(tmp_path: Path, world: World) -> None:
    world.service("web").healthy_when_running = False
    config = site(tmp_path / "c", "web", strategies=HELPLESS_THEN_IMPOSSIBLE, policies=WITHOUT_ASKING)
    with running(config, world) as application:
        incident = closed(application, send(application, alert("web")))
        run = application.control.run(incident["run"])
        message = told(application)[-1]
    assert "take_it_out: it cannot be translated" in incident["reason"]
    assert [(item["remedy"], item["reward"]) for item in run["outcomes"]] == [("restart", 0.0)]
    assert [item["remedy"] for item in message["tried"]] == ["restart"]


def test_a_remedy_that_was_only_denied_is_not_told_as_tried(tmp_path: Path, world: World) -> None:
    world.service("web").healthy_when_running = False
    two = HELPLESS_THEN_IMPOSSIBLE.replace("steps: [drain_backend]", "steps: [stop_service]")
    config = site(tmp_path / "c", "web", strategies=two, policies=WITHOUT_ASKING)
    with running(config, world) as application:
        once(world, "after", "program.restart", lambda: application.control.freeze(True, "ann", "enough"))
        incident = closed(application, send(application, alert("web")))
        run = application.control.run(incident["run"])
        message = told(application)[-1]
    assert run["tried"] == ["restart", "take_it_out"]
    assert "freeze" in incident["reason"]
    assert [item["remedy"] for item in message["tried"]] == ["restart"]


SCALE_THEN_RESTART = """
operation:
  summary: Scale the service, then restart it
  risk: low
  mutates: true
  parameters: {replicas: {type: integer, minimum: 0}}
  required: [replicas]
  before: {read: describe_service, keep: {replicas: configuration.replicas}}
  inverse: {operation: scale_service, parameters: {replicas: "${before.replicas}"}}
translations:
  local:
    calls:
      - {id: scale, call: program.scale, arguments: {target: "${target}", replicas: "${parameters.replicas}"}}
      - {id: restart, call: program.restart, arguments: {target: "${target}"}}
  docker: {unsupported: only for a test}
tests:
  - name: both
    platform: local
    target: {program: web}
    parameters: {replicas: 2}
    expect:
      - {call: program.scale, arguments: {target: {program: web}, replicas: 2}}
      - {call: program.restart, arguments: {target: {program: web}}}
"""


def test_a_step_that_fails_while_looking_between_its_calls_is_undone(tmp_path: Path, world: World) -> None:
    ladder = UNDONE.partition("      - name: restart")[0].replace("scale_service", "scale_then_restart")
    config = site(tmp_path / "c", "web", strategies=ladder, policies=WITHOUT_ASKING)
    (config / "operations").mkdir()
    (config / "operations" / "scale_then_restart.yml").write_text(SCALE_THEN_RESTART)
    world.service("web").healthy_when_running = False

    def hook(moment: str, environment: str, call: Call) -> None:
        if (moment, call.name) == ("before", "program.restart"):
            raise CallError(FailureKind.PERMANENT, "no_answer", "it could not be looked at")

    world.hook = hook
    with running(config, world) as application:
        incident = closed(application, send(application, alert("web")))
    assert incident["outcome"] == "escalated"
    assert world.changes("web") == ["program.scale", "program.scale"]
    assert world.service("web").replicas == 1


OWNED = """
strategies:
  down:
    match: ['alertname="Down"']
    diagnose: [get_service_status]
    remedies:
      - name: configure
        steps: [{scaled}{{operation: set_configuration, parameters: {{environment: {{LEVEL: "2"}}}}}}]
        verify: {{within: 1, stable_for: 0.1, confirm_within: 60, interval: 0.1}}
      - name: restart
        steps: [restart_service]
        verify: {{within: 1, stable_for: 0.1, confirm_within: 60, interval: 0.1}}
"""


@pytest.mark.parametrize("moment", ["before", "perform"])
@pytest.mark.parametrize("scaled", ["", "{operation: scale_service, parameters: {replicas: 3}}, "])
@pytest.mark.parametrize(
    ("code", "message", "outcome", "kind"),
    [
        ("gitops_owned", "web is kept as Git says by Argo CD; change it there", "escalated", "escalation"),
        ("self_target", "the process of web holds the state of UICI", "refused", "refused"),
    ],
)
def test_what_is_not_ours_to_change_is_left_to_people_at_once(
    code: str, message: str, outcome: str, kind: str, moment: str, scaled: str, tmp_path: Path, world: World
) -> None:
    world.service("web").healthy_when_running = False
    asked: list[str] = []

    def owned(at: str, environment: str, call: Call) -> None:
        if call.name == "program.configure" and at == moment:
            asked.append(at)
            raise CallError(FailureKind.PERMANENT, code, message)

    world.hook = owned
    with running(site(tmp_path / "c", "web", strategies=OWNED.format(scaled=scaled)), world) as application:
        incident = closed(application, send(application, alert("web")))
        run = application.control.run(incident["run"])
        (sent,) = told(application)
    # "Refused" means that nothing was done.
    assert (incident["outcome"], sent["kind"]) == (("escalated", "escalation") if scaled else (outcome, kind))
    assert f"{code}: {message}" in incident["reason"]
    assert asked == [moment], "it is asked once, not again and again"
    # Neither the next remedy is tried, nor stays what was done before.
    assert ("program.restart", "web") not in world.done
    assert world.service("web").replicas == 1
    assert [row["what"] for row in run["changes"]] == (["changed", "restored"] if scaled else [])
