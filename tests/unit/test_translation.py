from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sites import prepared as small_plan
from tests.unit.sites import site as small_site
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.model.base import JsonObject, digest
from uici.model.builtin import BUILTIN_SPECS, classify_builtin
from uici.model.call import SELECTION_KEY, CallError, Risk
from uici.model.errors import Problem, ProblemKind
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.operation import BUILTIN, Operation
from uici.model.plan import Origin, Plan, PreparedPlan, PreparedStep, Step
from uici.model.site import Site
from uici.translation.selections import operation_result, resolve_selections
from uici.translation.translating import _refuse_self, inverse_step, prepare

EXECUTORS = discover_executors()
SPECS = {name: executor.call_specs for name, executor in EXECUTORS.items()}
CLASSIFY = {name: executor.classify for name, executor in EXECUTORS.items()}
BACKEND = {"haproxy": "unix:/run/haproxy/admin.sock", "backend": "web", "server": "web-1"}
ALLOWED = {
    "disk": ["df", "-P", "/data"],
    "nginx_test": ["nginx", "-t"],
    "haproxy_test": ["haproxy", "-c", "-f", "/etc/haproxy.cfg"],
    "replication": ["redis-cli", "INFO", "replication"],
}
LOCAL = {
    "program": "web",
    "command": ["/bin/web"],
    "versions": {"v1": {}, "v2": {}},
    "diagnostics": ALLOWED,
    "reclaim": {"globs": ["/var/cache/web/*.tmp"], "older_than_seconds": 60},
    "backend": BACKEND,
}
DOCKER = {"container": "web-1", "diagnostics": ALLOWED, "backend": BACKEND}
EXAMPLES: dict[str, JsonObject] = {
    "check_logs": {"lines": 50},
    "scale_service": {"replicas": 1},
    "run_diagnostic": {"diagnostic": "disk"},
    "set_backend_state": {"state": "maint"},
    "vacuum_postgres_table": {"table": "orders"},
    "update_resources": {"cpus": 1.5, "memory_bytes": 268435456},
    "set_configuration": {"environment": {"A": "1"}, "remove": ["B"]},
    "deploy_version": {"version": "v2"},
    "wait": {"seconds": 3},
    "escalate_to_human": {"message": "look at web"},
    "reload_service": {"signal": "USR1"},
    "propose_change": {
        "file": "rules/web.yml",
        "rule": "Down",
        "current": "for: 1m",
        "proposed": "for: 5m",
        "because": "it flaps",
    },
    "query_metrics": {"query": "up{}", "labels": {"job": "web"}},
    "silence_alert": {"matchers": {"alertname": "Down"}, "duration_seconds": 600, "comment": "known"},
    "expire_silence": {"silence": "0f3a6a6e-0000-4000-8000-000000000000"},
    "set_traffic_weight": {"weight": 0.25, "because": "known"},
    "rollback_canary": {"because": "known"},
    "kill_postgres_query": {"pid": "4711"},
    "reindex_postgres_index": {"index": "orders_pkey"},
    "reset_redis_replica": {"primary": "cache-1"},
    "set_restart_policy": {"policy": "always"},
    "rotate_certificate_secret": {"secret": "web-tls"},
    "expand_volume_claim": {"claim": "data", "size": "20Gi"},
    "clear_stuck_finalizer": {"resource": "persistentvolumeclaims", "name": "data", "finalizer": "example.com/a"},
    "refresh_argo_application": {"application": "web"},
    "reconcile_flux": {"kustomization": "web"},
    "resize_instance_pool": {"size": 3},
    "set_backend_drain": {
        "load_balancer": "ocid1.loadbalancer.oc1..aaaa",
        "backend_set": "web",
        "backend": "10.0.0.2:8080",
    },
}
HOSTILE = [
    "; rm -rf /", "$(reboot)", "`reboot`", "a\nb", "v1\n", "--flag", "-v", "../../etc/passwd", "{{ 7 * 7 }}",
    "${target}", "${env:HOME}", "${calls.found.body.Id}", "%(x)s", "'; DROP TABLE", "a\x00b", "\u202e", "\ud800",
    "", " ", "a" * 100_000,
]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    (folder / "targets.yml").write_text(
        json.dumps(
            {
                "targets": {
                    "web": {"aliases": ["www"], "bindings": {"local": LOCAL, "docker": DOCKER}},
                    "plain": {
                        "bindings": {
                            "local": {"program": "plain", "command": ["/bin/plain"]},
                            "docker": {"container": "plain"},
                        }
                    },
                    "only-local": {"bindings": {"local": {"program": "only"}}},
                    "service": {"bindings": {"docker": {"service": "shop"}}},
                }
            }
        )
    )
    return load_site(folder, executors=EXECUTORS)


def plan_of(*steps: Step, environment: str = "local") -> Plan:
    return Plan(environment=environment, steps=steps, origin=Origin.RULE, reason="a test")


def prepared(
    site: Site,
    operation: str,
    parameters: JsonObject | None = None,
    *,
    environment: str = "local",
    target: str = "web",
    identity: SelfIdentity | None = None,
    layers: SelfGuardLayers | None = None,
) -> PreparedStep:
    step = Step(operation=operation, target=target, parameters=parameters or {})
    plan = plan_of(step, environment=environment)
    return prepare(
        plan, site, SPECS, CLASSIFY, identity or SelfIdentity(), layers or SelfGuardLayers()
    ).steps[0]  # fmt: skip


def refused(site: Site, operation: str, parameters: JsonObject | None = None, **more: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        prepared(site, operation, parameters, **more)
    return caught.value


# --- what is sent ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["local", "docker"])
def test_every_shipped_verb_translates_or_says_why_not(site: Site, environment: str) -> None:
    for name, operation in site.operations.items():
        translation = operation.translations.get(BUILTIN) or operation.translations[environment]
        if translation.unsupported is not None:
            problem = refused(site, name, EXAMPLES.get(name), environment=environment)
            assert problem.code == "unsupported_on_platform"
            assert translation.unsupported in problem.detail
            continue
        step = prepared(site, name, EXAMPLES.get(name), environment=environment)
        assert step.calls
        assert any(call.mutates for call in step.calls) is operation.mutates
        assert step.risk.rank >= max(call.risk.rank for call in step.calls)
        assert step.risk.rank >= operation.risk.rank


IMPOSSIBLE: list[tuple[str, str, str, JsonObject, str]] = [
    ("local", "plain", "run_diagnostic", {"diagnostic": "disk"}, "unknown_diagnostic"),
    ("local", "web", "run_diagnostic", {"diagnostic": "dsk"}, "unknown_diagnostic"),
    ("local", "plain", "reclaim_disk", {}, "no_reclaim"),
    ("local", "plain", "get_backend_state", {}, "no_backend"),
    ("local", "plain", "drain_backend", {}, "no_backend"),
    ("local", "plain", "undrain_backend", {}, "no_backend"),
    ("local", "plain", "set_backend_state", {"state": "drain"}, "no_backend"),
    ("local", "plain", "deploy_version", {"version": "v2"}, "unknown_version"),
    ("local", "web", "deploy_version", {"version": "v3"}, "unknown_version"),
    ("local", "plain", "rollback_version", {}, "no_previous_version"),
    ("local", "plain", "update_resources", {"cpus": 1}, "unsupported_on_platform"),
    ("docker", "plain", "run_diagnostic", {"diagnostic": "disk"}, "unknown_diagnostic"),
    ("docker", "plain", "drain_backend", {}, "no_backend"),
    ("docker", "plain", "scale_service", {"replicas": 2}, "not_scalable"),
    ("docker", "service", "reload_service", {}, "missing_value"),
    ("docker", "service", "reload_nginx", {}, "missing_value"),
    ("local", "plain", "reload_nginx", {}, "unknown_diagnostic"),
    ("local", "web", "flush_redis_cache", {}, "unsupported_on_platform"),
]


@pytest.mark.parametrize(("environment", "target", "operation", "parameters", "code"), IMPOSSIBLE)
def test_what_the_binding_rules_out_is_refused_while_planning(
    site: Site, environment: str, target: str, operation: str, parameters: JsonObject, code: str
) -> None:
    problem = refused(site, operation, parameters, environment=environment, target=target)
    assert [error["code"] for error in problem.errors] == [code]
    assert len(problem.detail) > 40


def test_what_the_binding_leaves_open_is_planned(site: Site) -> None:
    assert prepared(site, "scale_service", {"replicas": 2}, environment="docker", target="service").calls
    # Without a command the installed program's versions count, which only the platform knows.
    assert prepared(site, "deploy_version", {"version": "v9"}, target="only-local").calls
    assert prepared(site, "rollback_version", target="only-local").calls


def test_the_binding_and_the_parameters_keep_their_types(site: Site) -> None:
    (call,) = prepared(site, "scale_service", {"replicas": 3}).calls
    assert (call.name, call.arguments) == ("program.scale", {"target": LOCAL, "replicas": 3})
    spec = SPECS["local"]["program.scale"]
    assert (call.timeout_seconds, call.in_flight_seconds, call.provable) == (
        spec.timeout_seconds, spec.in_flight_seconds, True,
    )  # fmt: skip


def test_defaults_are_filled_in_and_shown_in_the_step(site: Site) -> None:
    step = prepared(site, "check_logs")
    assert step.step.parameters == {"lines": 200}
    assert step.calls[0].arguments["lines"] == 200


def test_an_optional_parameter_that_was_not_given_leaves_its_argument_out(site: Site) -> None:
    (call,) = prepared(site, "update_resources", {"cpus": 2}, environment="docker").calls
    assert call.arguments == {"target": DOCKER, "cpus": 2}


def test_the_risk_is_the_highest_of_operation_and_calls(site: Site) -> None:
    lowered = site.operations["stop_service"].model_copy(update={"risk": Risk.LOW})
    changed = site.model_copy(update={"operations": {**site.operations, "stop_service": lowered}})
    assert prepared(changed, "stop_service").risk is Risk.HIGH


def test_an_open_call_is_classed_by_what_it_does(site: Site) -> None:
    look, send = prepared(site, "reload_service", environment="docker").calls
    assert (look.mutates, look.risk, look.provable) == (False, Risk.LOW, False)
    assert (send.mutates, send.risk) == (True, Risk.HIGH)


def test_a_reading_verb_that_would_change_something_is_refused(site: Site) -> None:
    calls = site.operations["restart_service"].translations
    lying = site.operations["check_logs"].model_copy(update={"translations": calls, "parameters": {}})
    changed = site.model_copy(update={"operations": {**site.operations, "check_logs": lying}})
    assert refused(changed, "check_logs").code == "mutating_call"


# --- what is refused ------------------------------------------------------------------------------------------------


def test_everything_wrong_with_a_plan_is_said_at_once(site: Site) -> None:
    plan = plan_of(
        Step(operation="restrt_service", target="web"),
        Step(operation="scale_service", target="wbe", parameters={"replicas": "3", "x": 1}),
        Step(operation="restart_service", target="web"),
        Step(operation="update_resources", target="web"),
    )
    with pytest.raises(Problem) as caught:
        prepare(plan, site, SPECS, CLASSIFY, SelfIdentity(), SelfGuardLayers())
    found = [(error["step"], error["code"]) for error in caught.value.errors]
    assert found == [
        (1, "unknown_operation"), (2, "unknown_target"), (2, "wrong_type"), (2, "unknown_parameter"),
        (4, "unsupported_on_platform"),
    ]  # fmt: skip
    assert caught.value.kind is ProblemKind.UNPROCESSABLE
    assert "did you mean 'restart_service'?" in caught.value.detail
    assert "did you mean 'web'?" in caught.value.detail


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, "missing_parameter"),
        ({"replicas": True}, "wrong_type"),
        ({"replicas": "3"}, "wrong_type"),
        ({"replicas": 3.0}, "wrong_type"),
        ({"replicas": None}, "wrong_type"),
        ({"replicas": 0}, "out_of_bounds"),
        ({"replicas": 10**30}, "out_of_bounds"),
        ({"replicas": float("nan")}, "wrong_value"),
        ({"replicas": 3, "replica": 3}, "unknown_parameter"),
    ],
)
def test_parameters_are_judged_strictly(site: Site, parameters: JsonObject, code: str) -> None:
    problem = refused(site, "scale_service", parameters)
    assert problem.code == "invalid_parameters"
    assert code in [error["code"] for error in problem.errors]


def test_unknown_places_list_what_there_is(site: Site) -> None:
    unbound = refused(site, "restart_service", target="only-local", environment="docker")
    assert (unbound.code, unbound.allowed) == ("unbound_target", ("local",))
    assert refused(site, "restart_service", environment="lcal").errors[0]["code"] == "unknown_environment"


def test_a_binding_without_what_a_call_needs_is_refused_and_not_shortened(site: Site) -> None:
    problem = refused(site, "reload_service", target="service", environment="docker")
    assert problem.code == "missing_value"
    assert "target.container" in problem.detail


def test_a_missing_executor_is_named(site: Site) -> None:
    step = Step(operation="restart_service", target="web")
    with pytest.raises(Problem) as caught:
        prepare(plan_of(step), site, {}, {}, SelfIdentity(), SelfGuardLayers())
    assert caught.value.code == "unknown_platform"


def test_a_secret_in_a_wrong_parameter_is_not_repeated(site: Site) -> None:
    problem = refused(site, "set_configuration", {"environment": {"API_TOKEN": 1234567, "DB_PASSWORD": "x" * 40_000}})
    assert "1234567" not in problem.detail + str(problem.errors)
    assert "xxx" not in problem.detail + str(problem.errors)


def _text_parameters(site: Site) -> Iterator[tuple[Operation, JsonObject]]:
    """Every shipped verb with each of its text parameters replaced by each hostile text."""
    for operation in site.operations.values():
        example = EXAMPLES.get(operation.name, {})
        for name in example:
            for text in HOSTILE:
                if operation.parameters[name].get("type") == "object":
                    yield operation, {**example, name: {"A": text}}
                    yield operation, {**example, name: {text: "x"}}
                elif operation.parameters[name].get("type") == "array":
                    yield operation, {**example, name: [text]}
                else:
                    yield operation, {**example, name: text}


@pytest.mark.parametrize("environment", ["local", "docker"])
def test_hostile_texts_are_refused_or_stay_one_typed_value(site: Site, environment: str) -> None:
    sent, kinds = 0, set()
    for operation, parameters in _text_parameters(site):
        try:
            step = prepared(site, operation.name, parameters, environment=environment)
        except Problem as problem:
            kinds.add(problem.kind)
            continue
        sent += 1
        plain = prepared(site, operation.name, EXAMPLES[operation.name], environment=environment)
        assert [call.name for call in step.calls] == [call.name for call in plain.calls]
        for call, usual in zip(step.calls, plain.calls, strict=True):
            assert set(call.arguments) == set(usual.arguments)
            assert call.arguments.get("target") == usual.arguments.get("target")
            assert {call.arguments[name] is parameters[name] or call.arguments[name] == parameters[name]
                    for name in parameters if name in call.arguments} <= {True}  # fmt: skip
    assert sent > 10
    assert kinds == {ProblemKind.UNPROCESSABLE}


def test_hostile_versions_never_reach_a_call(site: Site) -> None:
    for text in HOSTILE:
        assert refused(site, "deploy_version", {"version": text}).code == "invalid_parameters"


def test_a_selection_cannot_be_smuggled_in(site: Site) -> None:
    for parameters in (
        {"environment": {SELECTION_KEY: "calls.a.b"}},
        {"environment": {"A": {SELECTION_KEY: "calls.a"}}},
    ):
        assert refused(site, "set_configuration", parameters).kind is ProblemKind.UNPROCESSABLE


def test_text_that_looks_like_a_reference_is_only_text(site: Site) -> None:
    (call,) = prepared(site, "escalate_to_human", {"message": "${target}"}).calls
    assert call.arguments == {"message": "${target}"}


# --- self -----------------------------------------------------------------------------------------------------------

ALONE = SelfGuardLayers(intake=False, planning=False, executor=False)


@pytest.mark.parametrize("name", ["web", "www"])
def test_a_change_that_reaches_uici_is_refused_by_this_layer_alone(site: Site, name: str) -> None:
    problem = refused(site, "restart_service", identity=SelfIdentity(names=frozenset({name})), layers=ALONE)
    assert (problem.kind, problem.code) == (ProblemKind.FORBIDDEN, "self_target")
    assert "layer translation" in problem.detail


def test_self_is_found_in_bindings_ids_and_arguments(site: Site) -> None:
    for identity in (SelfIdentity(names=frozenset({"web-1"})), SelfIdentity(state_paths=frozenset({"/var/uici.db"}))):
        parameters = {"environment": {"DATA": "/var/uici.db"}}
        problem = refused(site, "set_configuration", parameters, environment="docker", identity=identity, layers=ALONE)
        assert problem.code == "self_target"


def test_self_is_found_by_the_targets_name_and_by_what_a_call_says() -> None:
    where = small_site(targets={"healer": {"bindings": {"local": {"program": "x"}}}})
    step = small_plan(target="healer", binding={"program": "x"}).steps[0]
    reading = step.operation.model_copy(update={"mutates": False})
    quiet = tuple(call.model_copy(update={"mutates": False}) for call in step.calls)
    saying = tuple(
        call.model_copy(update={"arguments": {"target": {}, "argv": ["kill", "uici"]}}) for call in step.calls
    )
    by_name = SelfIdentity(names=frozenset({"healer"}))
    by_argument = SelfIdentity(names=frozenset({"uici"}))
    for identity, changed in (
        (by_name, {}),
        (by_name, {"operation": reading}),  # its call changes something all the same
        (by_name, {"calls": quiet}),
        (by_argument, {"calls": saying}),
    ):
        with pytest.raises(Problem, match="layer translation"):
            _refuse_self([step.model_copy(update=changed)], where, identity)
    _refuse_self([step.model_copy(update={"operation": reading, "calls": quiet})], where, by_name)
    _refuse_self([step], where, by_argument)


def test_looking_at_uici_is_allowed(site: Site) -> None:
    assert prepared(site, "check_logs", identity=SelfIdentity(names=frozenset({"web"}))).calls


def test_the_layer_can_be_off(site: Site) -> None:
    off = SelfGuardLayers(translation=False)
    assert prepared(site, "restart_service", identity=SelfIdentity(names=frozenset({"web"})), layers=off).calls


# --- selections -----------------------------------------------------------------------------------------------------


def test_selections_are_filled_from_earlier_results(site: Site) -> None:
    step = prepared(site, "reload_service", environment="docker")
    results: Mapping[str, Any] = {"found": {"status": 200, "body": {"Id": "abc"}}}
    assert step.calls[1].arguments["path"] == ["containers", {SELECTION_KEY: "calls.found.body.Id"}, "kill"]
    assert resolve_selections(step.calls[1].arguments, results)["path"] == ["containers", "abc", "kill"]
    assert operation_result(step, results) == {"signalled": "abc"}


def test_a_selection_that_leads_nowhere_stops_the_call(site: Site) -> None:
    step = prepared(site, "reload_service", environment="docker")
    for results in ({}, {"found": {"body": {"message": "no such container"}}}, {"found": {"body": {"Id": None}}}):
        with pytest.raises(Problem, match="nothing at"):
            resolve_selections(step.calls[1].arguments, results)
    assert operation_result(step, {}) == {"signalled": None}


def test_what_a_result_holds_is_never_taken_for_a_selection() -> None:
    results = {"a": {"b": {SELECTION_KEY: "calls.a.c"}, "c": "secret"}}
    assert resolve_selections({"x": {SELECTION_KEY: "calls.a.b"}}, results) == {"x": {SELECTION_KEY: "calls.a.c"}}


def test_without_a_declared_result_the_last_calls_is_the_operations(site: Site) -> None:
    step = prepared(site, "get_service_status")
    assert operation_result(step, {step.calls[0].id: {"state": "running"}}) == {"state": "running"}


# --- undo -----------------------------------------------------------------------------------------------------------


def test_undo_restores_what_was_kept(site: Site) -> None:
    step = prepared(site, "scale_service", {"replicas": 3})
    assert step.undo == "scale_service(replicas=as it was before)"
    assert inverse_step(step, {"replicas": 1}) == Step(
        operation="scale_service", target="web", parameters={"replicas": 1}
    )


def test_undo_of_configuration_removes_what_was_added(site: Site) -> None:
    step = prepared(site, "set_configuration", {"environment": {"A": "2", "NEW": "1"}, "remove": ["C"]})
    undo = inverse_step(step, {"environment": {"A": "1", "C": "3"}})
    assert undo is not None
    assert undo.parameters == {"environment": {"A": "1", "C": "3"}, "remove": ["NEW"]}
    again = prepared(site, undo.operation, undo.parameters)
    assert again.calls[0].arguments["remove"] == ["NEW"]


def test_undo_of_a_first_limit_lifts_it(site: Site) -> None:
    step = prepared(site, "update_resources", {"memory_bytes": 1000000}, environment="docker")
    undo = inverse_step(step, {"cpus": None, "memory_bytes": None})
    assert undo is not None
    assert undo.parameters == {"cpus": 0, "memory_bytes": 0}


def test_undo_is_not_guessed(site: Site) -> None:
    assert inverse_step(prepared(site, "deploy_version", {"version": "v2"}), {"version": None}) is None
    assert inverse_step(prepared(site, "deploy_version", {"version": "v2"}), {}) is None
    restart = prepared(site, "restart_service")
    assert inverse_step(restart, {}) is None
    assert restart.undo.startswith("cannot be undone: ")
    assert prepared(site, "check_logs").undo == "nothing to undo: it only reads"


def test_the_parameters_are_filled_into_the_verification(site: Site) -> None:
    verification = prepared(site, "scale_service", {"replicas": 3}).operation.verification
    assert verification is not None
    assert verification.expect[0].holds({"running": 3})
    assert not verification.expect[0].holds({"running": 2})


# --- the snapshot ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["local", "docker"])
def test_a_prepared_plan_survives_json_with_the_same_cid(site: Site, environment: str) -> None:
    for name in site.operations:
        step = Step(operation=name, target="web", parameters=EXAMPLES.get(name, {}))
        try:
            plan = prepare(
                plan_of(step, environment=environment), site, SPECS, CLASSIFY, SelfIdentity(), SelfGuardLayers()
            )
        except Problem:
            continue
        back = PreparedPlan.model_validate_json(json.dumps(plan.model_dump(mode="json")))
        assert back.cid == plan.cid
        assert back.steps[0].operation.preconditions == plan.steps[0].operation.preconditions


def test_the_cid_follows_the_translation_but_not_its_place(site: Site, tmp_path: Path) -> None:
    one = plan_of(Step(operation="restart_service", target="web"))
    first = prepare(one, site, SPECS, CLASSIFY, SelfIdentity(), SelfGuardLayers())
    moved = site.operations["restart_service"].model_copy(update={"source": "elsewhere:1"})
    other = site.model_copy(update={"operations": {**site.operations, "restart_service": moved}})
    assert prepare(one, other, SPECS, CLASSIFY, SelfIdentity(), SelfGuardLayers()).cid == first.cid
    risky = site.operations["restart_service"].model_copy(update={"risk": Risk.HIGH})
    other = site.model_copy(update={"operations": {**site.operations, "restart_service": risky}})
    assert prepare(one, other, SPECS, CLASSIFY, SelfIdentity(), SelfGuardLayers()).cid != first.cid


def test_the_cid_is_the_digest_of_the_whole_plan(site: Site) -> None:
    steps = [Step(operation=name, target="web", parameters=EXAMPLES[name]) for name in ("scale_service", "check_logs")]
    plan = prepare(plan_of(*steps), site, SPECS, CLASSIFY, SelfIdentity(), SelfGuardLayers())
    whole = plan.model_dump(mode="json", exclude={"steps": {"__all__": {"operation": {"source"}}}})
    assert plan.cid == digest(whole)
    # What was worked out for one is not kept for what is made from it.
    changed = plan.steps[0].model_copy(update={"risk": Risk.DESTRUCTIVE})
    other = plan.model_copy(update={"steps": (changed, plan.steps[1])})
    assert other.cid == digest(other.model_dump(mode="json", exclude={"steps": {"__all__": {"operation": {"source"}}}}))
    assert other.cid != plan.cid


# --- without a platform ---------------------------------------------------------------------------------------------


def test_of_the_builtin_calls_only_those_of_silences_and_traffic_change_something() -> None:
    changing = {name: classify_builtin(name, {})[1] for name in BUILTIN_SPECS if classify_builtin(name, {})[0]}
    assert changing == {"silence.make": Risk.HIGH, "silence.expire": Risk.LOW, "traffic.set": Risk.LOW}
    assert all(BUILTIN_SPECS[name].provable for name in changing)
    with pytest.raises(CallError):
        classify_builtin("reboot", {})


def test_a_builtin_verb_needs_no_binding(site: Site) -> None:
    assert prepared(site, "wait", {"seconds": 1}, target="only-local", environment="docker").calls[0].name == "wait"
