"""Alternatives in runs: what did not help is tried last, what is vetoed never, and each rung has one outcome."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import POLICIES, alert, closed, ended, incident_of, run_of, running, send, site
from tests.waiting import until
from uici.bootstrap import Application
from uici.intake.writer import Accepted
from uici.model.base import JsonObject
from uici.model.call import Call
from uici.model.errors import Problem
from uici.model.learning import Choice
from uici.runs.data import RunData, Stage
from uici.runs.stages import STAGES
from uici.store.schema import choices, outcomes, runs

VERIFY = "{within: 0.2, stable_for: 0, confirm_within: 0, interval: 0.05}"
ALTERNATIVES = f"""
strategies:
  down:
    match: ['alertname="Down"']
    diagnose: [get_service_status]
    remedies:
      - {{name: begin, when: {{all: [missing]}}, steps: [restart_service]}}
      - {{name: scale, alternative: revive, prior: {{good: 2, bad: 1}}, verify: {VERIFY},
         steps: [{{operation: scale_service, parameters: {{replicas: 1}}}}]}}
      - {{name: restart, alternative: revive, prior: {{good: 1, bad: 1}}, verify: {VERIFY}, steps: [restart_service]}}
      - {{name: start, verify: {VERIFY}, steps: [start_service]}}
"""


@pytest.fixture
def world() -> World:
    """A service that runs and is ill; only a restart heals it."""
    return curable(World())


def curable(world: World) -> World:
    def heal(moment: str, environment: str, call: Call) -> None:
        if (moment, call.name) == ("after", "program.restart"):
            world.service("web").healthy_when_running = True

    world.hook = heal
    fall_ill(world)
    return world


def fall_ill(world: World) -> None:
    world.service("web").state, world.service("web").healthy_when_running = "running", False


def rows(application: Application) -> list[JsonObject]:
    with application.store.read() as connection:
        found = connection.execute(select(outcomes).order_by(outcomes.c.at, outcomes.c.rung))
        return [dict(row._mapping) for row in found]


def waiting_or_ended(application: Application, accepted: Accepted) -> str:
    """The run of an incident, once it has chosen a remedy."""
    until(lambda: run_of(application, accepted)["tried"], "the choice")
    return str(run_of(application, accepted)["id"])


def choice(application: Application, run_id: str, rung: int = 1) -> Choice:
    with application.store.read() as connection:
        document = connection.execute(
            select(choices.c.document).where(choices.c.run_id == run_id, choices.c.rung == rung)
        ).scalar_one()
    return Choice.model_validate(document)


def incident(application: Application, world: World, number: int) -> JsonObject:
    """The service breaks, an alert says so, and UICI is done with it."""
    fall_ill(world)
    starts = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)
    return closed(application, send(application, alert("web", starts=starts)))


def first_of_scale(failed: int, healed: int) -> float:
    """How likely a draw of Beta(2, 1 + failed) is above one of Beta(1 + healed, 1), whose distribution is x^(1+healed).

    That is the expectation of x^(1+healed) over the former: a product of its moments.
    """
    return math.prod((2 + moment) / (3 + failed + moment) for moment in range(1 + healed))


def test_what_never_works_is_tried_first_less_and_less(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web", strategies=ALTERNATIVES), world) as application:
        healed = [incident(application, world, number) for number in range(8)]
        assert {each["outcome"] for each in healed} == {"healed"}
        made = [choice(application, each["runs"][0]["id"]) for each in healed]
        logged = rows(application)
    tried = [each["runs"][0]["tried"] for each in healed]
    stated = [{item.name: item.probability for item in each.candidates} for each in made]
    for number, said in enumerate(stated):
        # Which of them were drawn is chance; what follows from it is not.
        failed = sum(names[0] == "scale" for names in tried[:number])
        assert said["scale"] == pytest.approx(first_of_scale(failed, healed=number), rel=1e-4)
    assert all(later["scale"] < earlier["scale"] for earlier, later in pairwise(stated))
    assert stated[0]["scale"] == pytest.approx(2 / 3)
    assert stated[-1]["scale"] < 0.2001
    assert {(row["remedy"], row["verdict"], row["reward"]) for row in logged} == {
        ("scale", "ineffective", 0.0),
        ("restart", "effective", 1.0),
    }
    assert [row["remedy"] for row in logged].count("restart") == 8
    assert len({(row["run_id"], row["rung"]) for row in logged}) == len(logged)
    for row in logged:
        assert (row["strategy"], row["alternative"], row["policy"]) == ("down", "revive", "thompson")
        assert 0 < row["propensity"] <= 1
        assert row["position"] == row["rung"]
        assert row["findings"] == "running"


def test_the_timeline_says_how_the_remedy_was_chosen(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web", strategies=ALTERNATIVES), world) as application:
        document = incident(application, world, 1)
        kept = choice(application, document["runs"][0]["id"])
    chosen = next(item["data"] for item in document["timeline"] if item["type"] == "remedy_chosen")
    planned = next(item["data"] for item in document["timeline"] if item["type"] == "planned")
    assert Choice.model_validate(chosen) == kept
    assert planned["remedy"] == kept.chosen
    assert {item["name"] for item in chosen["candidates"]} == {"scale", "restart"}
    assert chosen["propensity"] == chosen["candidates"][0]["probability"]
    types = [item["type"] for item in document["timeline"]]
    assert types.index("remedy_chosen") < types.index("call_sent")


def test_a_stage_that_is_repeated_chooses_the_same(tmp_path: Path, world: World) -> None:
    """As after a kill between the choice and the journal's entry, with evidence that came in meanwhile."""
    asking = POLICIES.replace("autonomy: auto", "autonomy: approve")
    with running(site(tmp_path / "c", "web", strategies=ALTERNATIVES, policies=asking), world) as application:
        accepted = send(application, alert("web"))
        until(lambda: run_of(application, accepted)["waiting_for"] == "approval", "the question to people")
        run_id = run_of(application, accepted)["id"]
        with application.store.read() as connection:
            row = connection.execute(select(runs).where(runs.c.id == run_id)).one()
        kept = choice(application, run_id)
        with application.store.write() as connection:
            for number in range(50):
                other = {"run_id": f"run_{number}", "rung": 1, "at": datetime.now(UTC), "strategy": "down"}
                connection.execute(
                    outcomes.insert().values(
                        **other, remedy=kept.chosen, findings=kept.findings, environment="local", target="web", reward=0
                    )
                )
        before = RunData.model_validate(row.data).to(Stage.PLAN, tried=())
        after = STAGES[Stage.PLAN](application.services, before)
        assert after.tried == (kept.chosen,)
        assert choice(application, run_id) == kept
        types = [item["type"] for item in incident_of(application, accepted)["timeline"]]
        assert types.count("remedy_chosen") == 1


def test_the_rungs_around_a_group_keep_their_places(tmp_path: Path, world: World) -> None:
    world.hook = lambda moment, environment, call: None
    with running(site(tmp_path / "c", "web", strategies=ALTERNATIVES), world) as application:
        document = incident(application, world, 1)
        tried = document["runs"][0]["tried"]
        logged = rows(application)
    assert set(tried[:2]) == {"scale", "restart"}
    assert tried[2:] == ["start"]
    assert [row["rung"] for row in logged] == [1, 2, 3]
    assert [row["alternative"] for row in logged] == ["revive", "revive", None]
    assert [row["position"] for row in logged] == [1, 2, None]
    assert logged[1]["propensity"] == 1.0, "one alternative was left"


def test_what_only_needs_approval_is_left_out_where_the_policy_says_so(tmp_path: Path, world: World) -> None:
    policies = POLICIES + "risk: {auto_approve_up_to: low}\n"
    gentle = ALTERNATIVES.replace(
        "[{operation: scale_service, parameters: {replicas: 1}}]", "[{operation: wait, parameters: {seconds: 0}}]"
    )
    for avoid in ("false", "true"):
        more = f"learning: {{avoid_approval: {avoid}}}\n"
        config = site(tmp_path / avoid / "c", "web", strategies=gentle, policies=policies + more)
        with running(config, curable(World())) as application:
            kept = choice(application, waiting_or_ended(application, send(application, alert("web"))))
        assert [item.name for item in kept.masked] == (["restart"] if avoid == "true" else [])
    assert kept.masked[0].why.startswith("risk: the plan's risk is medium")
    assert (kept.chosen, kept.propensity) == ("scale", 1.0)


def test_a_denial_of_all_speaks_against_none(tmp_path: Path, world: World) -> None:
    policies = POLICIES.replace("autonomy: auto", "autonomy: propose")
    with running(site(tmp_path / "c", "web", strategies=ALTERNATIVES, policies=policies), world) as application:
        document = incident(application, world, 1)
        kept = choice(application, document["runs"][0]["id"])
    assert document["outcome"] == "observed"
    assert kept.masked == ()


VERB = """
operation:
  summary: Let the program go on
  risk: low
  mutates: true
  reversible: false
  irreversible_because: a test has nothing to go back to
  preconditions: [{{field: state, equals: paused}}]
translations:
  local: {local}
  docker: {{calls: [{{call: container.start, arguments: {{target: "${{target}}"}}}}]}}
tests:
  - {{name: works, platform: docker, target: {{container: web}}, expect: [{{call: container.start, arguments: {{target: {{container: web}}}}}}]}}
"""  # noqa: E501 - as people write it
HERE = '{calls: [{call: program.start, arguments: {target: "${target}"}}]}'


@pytest.mark.parametrize(
    ("local", "why"),
    [
        (HERE, "precondition of thaw_service does not hold: state"),
        ("{unsupported: programs cannot be paused}", "it cannot be translated: "),
    ],
)
def test_what_cannot_be_done_now_is_left_out(tmp_path: Path, world: World, local: str, why: str) -> None:
    config = site(
        tmp_path / "c",
        "web",
        strategies=ALTERNATIVES.replace("[{operation: scale_service, parameters: {replicas: 1}}]", "[thaw_service]"),
    )
    (config / "operations").mkdir()
    (config / "operations" / "thaw_service.yml").write_text(VERB.format(local=local))
    with running(config, world) as application:
        document = incident(application, world, 1)
        kept = choice(application, document["runs"][0]["id"])
    assert document["outcome"] == "healed"
    assert [item.name for item in kept.masked] == ["scale"]
    assert kept.masked[0].why.startswith(why)
    assert (kept.chosen, kept.propensity) == ("restart", 1.0)


def test_nothing_more_is_written_for_a_strategy_without_alternatives(tmp_path: Path) -> None:
    plain = ALTERNATIVES.replace("alternative: revive, prior: {good: 2, bad: 1}, ", "").replace(
        "alternative: revive, prior: {good: 1, bad: 1}, ", ""
    )
    writes: dict[str, int] = {}
    for name, strategies in (("plain", plain), ("grouped", ALTERNATIVES)):
        with running(site(tmp_path / name / "c", "web", strategies=strategies), curable(World())) as application:
            document = closed(application, send(application, alert("web")))
            with application.store.read() as connection:
                writes[name] = len(connection.execute(select(choices)).all())
            assert len(rows(application)) == len(document["runs"][0]["tried"])
    assert writes["plain"] == 0
    assert writes["grouped"] > 0


def test_what_was_refused_before_anything_was_done_is_no_outcome(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web", strategies=ALTERNATIVES), world) as application:
        application.control.freeze(True, "ann", "maintenance")
        assert incident(application, world, 1)["outcome"] == "refused"
        assert rows(application) == []


def test_what_ended_without_a_verdict_is_kept_and_not_counted(tmp_path: Path, world: World) -> None:
    def freeze(moment: str, environment: str, call: Call) -> None:
        if moment == "after" and call.mutates:
            application.control.freeze(True, "ann", "enough")

    two_steps = ALTERNATIVES.replace("steps: [restart_service]", "steps: [restart_service, restart_service]").replace(
        "[{operation: scale_service, parameters: {replicas: 1}}]", "[restart_service, restart_service]"
    )
    with running(site(tmp_path / "c", "web", strategies=two_steps), world) as application:
        world.hook = freeze
        assert incident(application, world, 1)["outcome"] == "escalated"
        (row,) = rows(application)
    assert (row["verdict"], row["reward"]) == (None, None)
    assert row["reason"].startswith("not counted: no verdict: freeze: everything is frozen by ann")


# --- people ---


def refused(action: Callable[[], object], code: str) -> Problem:
    with pytest.raises(Problem) as caught:
        action()
    assert caught.value.code == code
    return caught.value


def test_a_persons_word_moves_the_belief_and_the_last_one_counts(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web", strategies=ALTERNATIVES), world) as application:
        learning = application.control.learning
        run = incident(application, world, 1)["runs"][0]["id"]

        def people() -> tuple[float, float]:
            (line,) = [each for each in learning.table("down", ["running"])["remedies"] if each["remedy"] == "restart"]
            return round(line["human_good"], 3), round(line["human_bad"], 3)

        said = learning.feedback(run, True, "quick", "ann#1")
        assert (said["remedy"], [each["good"] for each in said["feedback"]]) == ("restart", [True])
        assert people() == (2, 0)
        learning.feedback(run, True, "quick", "ann#1")
        assert people() == (2, 0), "the same word twice counts once"
        learning.feedback(run, False, "it lost the queue", "ann#1")
        assert people() == (0, 2), "a changed mind replaces"
        learning.feedback(run, True, "", "bob#2")
        assert people() == (2, 2)
        document = application.control.run(run)
        assert document["outcomes"][-1]["feedback"] == ["ann#1: bad (it lost the queue)", "bob#2: good"]
        events = [item for item in application.control.events(run=run, incident=None, after=0, limit=99)]
    given = [item.data for item in events if item.type == "feedback_given"]
    assert [(item["actor"], item["verdict"], item["replaces"]) for item in given] == [
        ("ann#1", "good", None),
        ("ann#1", "good", "good"),
        ("ann#1", "bad", "good"),
        ("bob#2", "good", None),
    ]


def test_feedback_where_there_is_nothing_to_judge_is_refused_with_the_reason(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web", strategies=ALTERNATIVES), world) as application:
        control = application.control
        control.freeze(True, "ann", "maintenance")
        run = incident(application, world, 1)["runs"][0]["id"]
        problem = refused(lambda: control.learning.feedback(run, True, "", "ann#1"), "run_never_acted")
        assert "frozen by ann" in problem.detail
        refused(lambda: control.learning.feedback("run_0", True, "", "ann#1"), "unknown_run")
        control.freeze(False, "ann", "")
        plan = {"plan": {"environment": "local", "steps": [{"operation": "restart_service", "target": "web"}]}}
        by_hand = ended(application, control.start(plan, "ann")["id"])
        refused(lambda: control.learning.feedback(by_hand["id"], True, "", "ann#1"), "not_by_rule")


def test_a_vetoed_alternative_is_never_taken_until_the_veto_is_lifted_also_after_a_restart(
    tmp_path: Path, world: World
) -> None:
    config = site(tmp_path / "c", "web", strategies=ALTERNATIVES)
    with running(config, world) as application:
        veto = application.control.learning.veto("down", "scale", None, "web", "it costs money", "ann#1")
        same = refused(
            lambda: application.control.learning.veto("down", "scale", None, "web", "x", "bob#2"), "already_vetoed"
        )
        assert veto["id"] in same.detail
    with running(config, world) as application:
        documents = [incident(application, world, number) for number in range(3)]
        assert [each["runs"][0]["tried"] for each in documents] == [["restart"]] * 3
        (masked,) = choice(application, documents[0]["runs"][0]["id"]).masked
        assert (masked.name, "it costs money" in masked.why) == ("scale", True)
        lifted = application.control.learning.lift(str(veto["id"]), "cheap now", "bob#2")
        assert lifted["lifted_by"] == "bob#2"
        refused(lambda: application.control.learning.lift(str(veto["id"]), "", "bob#2"), "already_lifted")
        refused(lambda: application.control.learning.lift("veto_0", "", "bob#2"), "unknown_veto")
        after = incident(application, world, 9)
        assert choice(application, after["runs"][0]["id"]).masked == ()


def test_a_vetoed_rung_of_a_plain_ladder_is_passed_over_and_the_last_one_denied(tmp_path: Path, world: World) -> None:
    plain = ALTERNATIVES.replace("alternative: revive, prior: {good: 2, bad: 1}, ", "").replace(
        "alternative: revive, prior: {good: 1, bad: 1}, ", ""
    )
    with running(site(tmp_path / "c", "web", strategies=plain), world) as application:
        application.control.learning.veto("down", "scale", None, None, "never", "ann#1")
        assert incident(application, world, 1)["runs"][0]["tried"] == ["restart"]
        application.control.learning.veto("down", "restart", "local", None, "never", "ann#1")
        application.control.learning.veto("down", "start", None, None, "never", "ann#1")
        before = len(world.changes("web"))
        document = incident(application, world, 2)
        shown = application.control.preview({"incident": document["id"]}, None)["previews"][0]
    assert document["outcome"] == "refused"
    assert document["reason"].startswith("veto: scale is vetoed by ann#1: never; uici learning lift veto_")
    guarded = next(item["data"] for item in document["timeline"] if item["type"] == "guarded")
    assert [item["guard"] for item in guarded["decisions"]] == ["veto"]
    assert len(world.changes("web")) == before
    assert next(item["answer"] for item in shown["guards"] if item["guard"] == "veto") == "deny"


def test_a_veto_between_the_plan_and_its_approval_takes_the_next_remedy(tmp_path: Path, world: World) -> None:
    asking = POLICIES.replace("autonomy: auto", "autonomy: approve")
    with running(site(tmp_path / "c", "web", strategies=ALTERNATIVES, policies=asking), world) as application:
        control = application.control
        accepted = send(application, alert("web"))
        until(lambda: run_of(application, accepted)["waiting_for"] == "approval", "the question to people")
        run = run_of(application, accepted)
        (first,) = run["tried"]
        control.learning.veto("down", first, None, None, "never", "ann#1")
        control.approve(run["id"], run["cid"], "bob", "")
        until(lambda: run_of(application, accepted)["cid"] != run["cid"], "the other plan")
        (second,) = run_of(application, accepted)["tried"]
    assert {first, second} == {"scale", "restart"}
    assert world.changes("web") == []


def test_a_person_may_do_by_hand_what_is_vetoed(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web", strategies=ALTERNATIVES), world) as application:
        application.control.learning.veto("down", "restart", None, None, "never", "ann#1")
        plan = {"plan": {"environment": "local", "steps": [{"operation": "restart_service", "target": "web"}]}}
        run = ended(application, application.control.start(plan, "ann")["id"])
    assert run["verdict"] == "effective"


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("dwn", "restart", None, None), "unknown_strategy"),
        (("down", "restrat", None, None), "unknown_remedy"),
        (("down", "restart", "locl", None), "unknown_environment"),
        (("down", "restart", None, "wbe"), "unknown_target"),
    ],
)
def test_a_veto_of_what_does_not_exist_is_refused(
    tmp_path: Path, world: World, names: tuple[str, str, str | None, str | None], code: str
) -> None:
    application = Application(
        site(tmp_path / "c", "web", strategies=ALTERNATIVES),
        f"sqlite:///{tmp_path / 'uici.db'}",
        executors={"local": world.executor_class()},
    )
    try:
        problem = refused(lambda: application.control.learning.veto(*names, "why", "ann#1"), code)
        assert "did you mean" in problem.detail
    finally:
        application.store.close()


# --- what is shown ---


def test_the_preview_of_a_new_incident_is_not_sure_and_that_of_a_run_is(tmp_path: Path, world: World) -> None:
    asking = POLICIES.replace("autonomy: auto", "autonomy: approve")
    with running(site(tmp_path / "c", "web", strategies=ALTERNATIVES, policies=asking), world) as application:
        payload = {
            "version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "uici",
            "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "",
            "alerts": [
                {
                    "status": "firing", "labels": {"alertname": "Down", "uici_target": "web"}, "annotations": {},
                    "startsAt": "2026-01-01T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "",
                    "fingerprint": "0011223344556677",
                }
            ],
        }  # fmt: skip
        (foreseen,) = application.control.preview(payload, None)["previews"]
        accepted = send(application, alert("web"))
        until(lambda: run_of(application, accepted)["waiting_for"] == "approval", "the question to people")
        run = run_of(application, accepted)
        (known,) = application.control.preview({"incident": run["incident"]}, None)["previews"]
    among = foreseen["alternatives"]
    assert {item["name"]: round(item["probability"], 3) for item in among["candidates"]} == {
        "scale": 0.667,
        "restart": 0.333,
    }
    assert (among["recorded"], foreseen["remedy"]) == (False, "scale")
    assert "is drawn by the run: scale 67%, restart 33%; shown is the likeliest" in " ".join(foreseen["notes"])
    assert known["alternatives"]["recorded"] is True
    assert [known["remedy"]] == run["tried"]
    assert f"{run['id']} has chosen {known['remedy']} already" in " ".join(known["notes"])


def test_the_log_compares_the_policies(tmp_path: Path, world: World) -> None:
    with running(site(tmp_path / "c", "web", strategies=ALTERNATIVES), world) as application:
        assert application.control.learning.comparison(None, 500)["choices"] == 0
        for number in range(5):
            incident(application, world, number)
        found = application.control.learning.comparison("down", 500)
    assert found["choices"] == 5
    by_name = {each["policy"]: each for each in found["policies"]}
    assert set(by_name) == {"thompson", "q_learning", "fixed"}
    assert by_name["thompson"]["in_force"] is True
    assert by_name["thompson"]["effective_sample_size"] == pytest.approx(5)
    assert by_name["thompson"]["ips"] == pytest.approx(found["helped"])
    assert by_name["fixed"]["snips"] in (0.0, None), "the first as declared never helps"


def test_where_one_alternative_is_vetoed_and_the_other_impossible_the_ladder_goes_on(
    tmp_path: Path, world: World
) -> None:
    before, _, after = ALTERNATIVES.rpartition("steps: [restart_service]")
    ladder = before + "steps: [drain_backend]" + after
    with running(site(tmp_path / "c", "web", strategies=ladder, policies=POLICIES), world) as application:
        application.control.learning.veto("down", "scale", None, None, "never", "ann#1")
        document = incident(application, world, 1)
        (shown,) = application.control.preview({"incident": document["id"]}, None)["previews"]
    assert (document["runs"][0]["tried"][0], shown["remedy"]) == ("start", "start")
    assert document["reason"].startswith("veto: scale is vetoed by ann#1")  # when nothing else was left
    assert world.changes("web") == ["program.start"]
