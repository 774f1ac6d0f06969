"""What ships: the configuration, the verbs, the starter tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from council.configuration import FILE as AGENTS
from tests.unit.sites import NOW
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.catalogue.locations import VARIABLE, config_directory, shipped_config, shipped_operations
from uici.catalogue.overlaying import FILES
from uici.catalogue.schema import MODELS, json_schema
from uici.catalogue.starter import starter_files, write_starter
from uici.intake.targeting import TargetIndex
from uici.model.alert import Alert, AlertStatus
from uici.model.call import Risk
from uici.model.errors import Problem, ProblemKind
from uici.model.identity import SelfIdentity
from uici.model.operation import BUILTIN
from uici.model.parameters import schema_problem
from uici.model.settings import SelfSettings
from uici.model.site import Autonomy, Site
from uici.translation.verb_tests import run_verb_tests

EXECUTORS = discover_executors()
VERBS = {
    "get_service_status", "check_service_health", "check_logs", "check_resource_usage", "describe_service",
    "start_service", "stop_service", "restart_service", "scale_service", "update_resources", "set_configuration",
    "deploy_version", "rollback_version", "wait", "escalate_to_human",
    "propose_change", "query_metrics", "silence_alert", "expire_silence",
    "list_services", "run_diagnostic", "capture_snapshot", "reclaim_disk",
    "get_traffic_weight", "set_traffic_weight", "rollback_canary",
    "get_backend_state", "drain_backend", "undrain_backend", "set_backend_state",
}  # fmt: skip


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(None, executors=EXECUTORS)


def alert(**labels: str) -> Alert:
    return Alert(
        fingerprint="0", status=AlertStatus.FIRING, labels=labels, annotations={}, starts_at=NOW, ends_at=None,
        generator_url="",
    )  # fmt: skip


def test_every_verb_is_there_and_says_what_each_platform_does(site: Site) -> None:
    assert VERBS <= set(site.operations)
    for operation in site.operations.values():
        platforms = set(operation.translations)
        assert platforms == {BUILTIN} or {"local", "docker"} <= platforms, operation.name


def test_every_change_is_undoable_or_says_why_not(site: Site) -> None:
    for operation in site.operations.values():
        if operation.mutates:
            assert operation.inverse is not None or operation.irreversible_because, operation.name
            assert operation.risk.rank >= Risk.LOW.rank


def test_every_verb_closes_its_parameters(site: Site) -> None:
    for operation in site.operations.values():
        assert operation.parameters_schema["additionalProperties"] is False
        for name, schema in operation.parameters.items():
            if schema.get("type") == "string":
                assert "maxLength" in schema, (operation.name, name)
            if schema.get("type") in ("integer", "number"):
                assert {"minimum", "maximum"} <= set(schema), (operation.name, name)


def test_the_tests_that_verbs_carry_pass(site: Site) -> None:
    assert "reload_service" in site.verb_tests
    assert run_verb_tests(site, EXECUTORS) == []


def test_a_verb_whose_calls_name_uici_fails_its_own_tests(site: Site) -> None:
    platform = site.platform.model_copy(update={"self": SelfSettings(names=("web",))})
    (first, *_) = run_verb_tests(site.model_copy(update={"platform": platform}), EXECUTORS)
    assert "would act on UICI itself" in first.text


def test_a_verbs_test_that_does_not_hold_is_told(site: Site) -> None:
    tests = tuple(
        test.model_copy(update={"parameters": {"signal": "USR2"}}) for test in site.verb_tests["reload_service"]
    )
    failures = run_verb_tests(site.model_copy(update={"verb_tests": {"reload_service": tests}}), EXECUTORS)
    assert len(failures) == 3
    assert "USR2" in str(failures[0])


def test_one_verb_is_made_of_open_calls_alone(site: Site) -> None:
    calls = site.operations["reload_service"].translations["docker"].calls
    assert all(EXECUTORS["docker"].call_specs[template.call].open for template in calls)


@pytest.mark.parametrize(
    ("findings", "strategy", "first"),
    [
        ({"not_running", "exited_with_error", "unhealthy"}, "service_down", "start"),
        ({"not_running", "killed_by_signal", "unhealthy"}, "service_down", "start"),
        ({"running", "hanging", "unhealthy"}, "service_down", "restart"),
        ({"running", "hanging", "unhealthy", "recently_deployed"}, "unhealthy", "restart"),
        ({"not_running", "unhealthy", "config_error", "recently_deployed"}, "service_down", "roll_back_the_deployment"),
        (
            {"running", "hanging", "unhealthy", "config_error", "recently_deployed"},
            "unhealthy",
            "roll_back_the_deployment",
        ),
        ({"crash_looping", "config_error", "recently_deployed", "unhealthy"}, "crash_loop", "roll_back_the_deployment"),
        ({"crash_looping", "exited_with_error"}, "crash_loop", "restart"),
        # Who starts what the platform itself starts again and again changes nothing.
        ({"crash_looping", "not_running", "unhealthy"}, "service_down", "restart"),
        ({"crash_looping", "not_running", "unhealthy"}, "unhealthy", "restart"),
        (
            {"crash_looping", "not_running", "recently_deployed", "unhealthy"},
            "bad_deployment",
            "roll_back_the_deployment",
        ),
        ({"crash_looping", "not_running", "oom_killed"}, "out_of_memory", "restart_to_free_memory"),
        ({"oom_killed", "not_running"}, "out_of_memory", "start_what_was_killed"),
        ({"high_memory", "running"}, "out_of_memory", "restart_to_free_memory"),
        ({"missing", "not_running", "unhealthy"}, "service_down", None),
        ({"not_running", "disk_full", "unhealthy"}, "service_down", None),
        ({"not_running", "stopped_on_request", "unhealthy"}, "service_down", "start"),
        ({"not_running", "stopped_on_request"}, "crash_loop", None),
        ({"running", "healthy"}, "service_down", None),
    ],
)
def test_the_first_remedy_follows_from_the_findings(
    site: Site, findings: set[str], strategy: str, first: str | None
) -> None:
    assert findings <= set(site.findings)
    remedies = site.strategies[strategy].remedies
    assert next((remedy.name for remedy in remedies if remedy.when.satisfied_by(frozenset(findings))), None) == first


@pytest.mark.parametrize(
    ("finding", "operation", "result"),
    [
        ("oom_killed", "get_service_status", {"state": "exited", "oom_killed": True, "exit_code": 137}),
        ("oom_killed", "check_logs", {"lines": ["kernel: Out of memory: Killed process 1"]}),
        ("killed_by_signal", "get_service_status", {"state": "exited", "exit_code": 137}),
        ("exited_with_error", "get_service_status", {"state": "exited", "exit_code": 1}),
        ("exited_cleanly", "get_service_status", {"state": "exited", "exit_code": 0}),
        ("config_error", "get_service_status", {"state": "exited", "exit_code": 78}),
        ("config_error", "check_logs", {"lines": ["fatal: invalid configuration: port is missing"]}),
        ("config_error", "check_logs", {"lines": ["ok", "nginx: unknown directive \"sever\""]}),
        ("config_error", "check_logs", {"lines": ["missing environment variable DATABASE_URL"]}),
        ("connection_refused", "check_logs", {"lines": ["dial tcp 10.0.0.1:5432: connect: connection refused"]}),
        ("port_in_use", "check_logs", {"lines": ["OSError: [Errno 98] Address already in use"]}),
        ("disk_full", "check_logs", {"lines": ["write: no space left on device"]}),
        ("hanging", "check_service_health", {"state": "running", "healthy": False}),
        ("unhealthy", "check_service_health", {"state": "exited", "healthy": False}),
        ("missing", "get_service_status", {"state": "missing"}),
        ("crash_looping", "get_service_status", {"state": "running", "restart_count": 5}),
        ("high_memory", "check_resource_usage", {"memory_percent": 95.5}),
        ("high_cpu", "check_resource_usage", {"cpu_percent": 99}),
        ("recently_deployed", "describe_service", {"deployed_at": "2026-01-01T00:00:00Z", "previous_version": "1"}),
    ],
)  # fmt: skip
def test_findings_are_established(site: Site, finding: str, operation: str, result: dict[str, object]) -> None:
    rule = site.findings[finding]
    assert any(
        evidence.operation == operation and all(condition.holds(result) for condition in evidence.all)
        for evidence in rule.when
    )


@pytest.mark.parametrize("finding", ["config_error", "oom_killed", "connection_refused", "port_in_use", "disk_full"])
def test_ordinary_lines_establish_nothing(site: Site, finding: str) -> None:
    lines = ["ready", "GET /config 200", "listening on port 80", "loaded configuration", "room for memory", "connected"]
    for evidence in site.findings[finding].when:
        if evidence.operation == "check_logs":
            assert not any(condition.holds({"lines": lines}) for condition in evidence.all)


@pytest.mark.parametrize(
    ("labels", "target"),
    [
        ({"uici_target": "web", "job": "kube-state-metrics"}, "web"),
        ({"deployment": "web", "job": "kube-state-metrics", "instance": "10.0.0.1:8080", "service": "ksm"}, "web"),
        ({"pod": "web-7d4b9c6f5-x2x8z", "container": "kube-state-metrics", "job": "kube-state-metrics"}, "web"),
        ({"container_label_com_docker_compose_service": "shop", "job": "cadvisor"}, "web"),
        ({"name": "web-1", "job": "cadvisor"}, "web-1-holder"),
        ({"job": "web"}, "web"),
        ({"job": "kube-state-metrics", "instance": "10.0.0.1:8080"}, None),
        ({"job": "node-exporter", "instance": "web"}, None),
        ({"job": "node-exporter", "pod": "node-exporter-x2x8z", "container": "node-exporter"}, None),
        ({"job": "kubernetes/kube-state-metrics", "service": "node-exporter"}, None),
    ],
)
def test_the_messenger_is_never_the_target(site: Site, labels: dict[str, str], target: str | None) -> None:
    full = site.model_validate(
        site.model_dump()
        | {
            "targets": {
                "web": {"bindings": {"docker": {"service": "shop"}}},
                "web-1-holder": {"bindings": {"docker": {"container": "web-1"}}},
                "node-exporter": {"bindings": {"docker": {"container": "node-exporter"}}},
                "kube-state-metrics": {"bindings": {"docker": {"container": "kube-state-metrics"}}},
            }
        }
    )
    assert TargetIndex(full).resolve(alert(alertname="X", **labels), SelfIdentity()).target == target


def test_every_shipped_rule_can_be_carried_out_somewhere(site: Site) -> None:
    def somewhere(name: str) -> bool:
        translations = site.operations[name].translations
        return BUILTIN in translations or any(
            translations[platform].unsupported is None for platform in ("local", "docker") if platform in translations
        )

    used = {evidence.operation for rule in site.findings.values() for evidence in rule.when}
    for strategy in site.strategies.values():
        used |= {step.operation for step in strategy.diagnose}
        used |= {step.operation for remedy in strategy.remedies for step in remedy.steps}
    assert used
    assert [name for name in sorted(used) if not somewhere(name)] == []


def test_every_shipped_rung_asks_only_for_findings_that_its_diagnosis_can_make(site: Site) -> None:
    for name, strategy in site.strategies.items():
        looked = {step.operation for step in strategy.diagnose}
        for remedy in strategy.remedies:
            for wanted in (*remedy.when.any, *remedy.when.all):
                rule = site.findings.get(wanted)
                if rule is not None and looked:
                    assert looked & {evidence.operation for evidence in rule.when}, (name, remedy.name, wanted)


# --- places ---------------------------------------------------------------------------------------------------------


def test_the_shipped_folders_hold_what_the_catalogue_reads() -> None:
    assert {path.name for path in shipped_config().glob("*.yml")} == {*FILES, AGENTS}
    assert list(shipped_operations().glob("*.yml"))


def test_the_sites_folder_is_found_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert config_directory(None) is None
    (tmp_path / "platform.yml").write_text("")
    assert config_directory(None) == tmp_path
    monkeypatch.setenv(VARIABLE, str(tmp_path / "named"))
    assert config_directory(None) == tmp_path / "named"
    assert config_directory(tmp_path / "given") == tmp_path / "given"


# --- the starter ----------------------------------------------------------------------------------------------------


def test_the_starter_loads_proposes_and_has_one_example(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    written = write_starter(folder)
    assert {path.relative_to(folder).as_posix() for path in written} == set(starter_files())
    site = load_site(folder, executors=EXECUTORS)
    assert (site.default_environment, site.policies.autonomy) == ("local", Autonomy.PROPOSE)
    assert list(site.targets) == ["hello"]
    assert site.platform.state == "sqlite:///state/uici.db"


def test_what_the_starter_shows_in_comments_is_sound_too(tmp_path: Path) -> None:
    for name, source in starter_files().items():
        shown: list[str] = []
        for line in source.read_text().splitlines():
            if line.endswith(": {}"):
                line = line.removesuffix(" {}")
            example = line.startswith("#  ") or (line.startswith("# ") and line[2:].split(":")[0] in COMMENTED_FIELDS)
            shown.append((line[1:] if line.startswith("#  ") else line[2:]) if example else line)
        (tmp_path / name).write_text("\n".join(shown) + "\n")
    site = load_site(tmp_path, executors=EXECUTORS)
    assert {"hello", "shop"} <= set(site.targets)
    assert next(iter(site.strategies)) == "queue_stuck"
    assert "licence_expired" in site.findings
    assert site.environments["docker"].autonomy is Autonomy.APPROVE
    assert site.platform.notify.webhook is not None


COMMENTED_FIELDS = ("cooldown", "give_up", "blast_radius", "approval", "notify")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "targets.yml").write_text("mine: 1")
    with pytest.raises(Problem) as caught:
        write_starter(tmp_path)
    assert caught.value.kind is ProblemKind.CONFLICT
    assert "targets.yml" in caught.value.detail
    assert os.listdir(tmp_path) == ["targets.yml"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Problem) as caught:
        write_starter(tmp_path / "file" / "site")
    assert caught.value.code == "cannot_write"


# --- schemas --------------------------------------------------------------------------------------------------------


def test_every_file_has_a_schema() -> None:
    assert set(FILES) < set(MODELS)
    for name in MODELS:
        assert json_schema(name)["additionalProperties"] is False
    with pytest.raises(Problem, match=r"did you mean 'targets\.yml'"):
        json_schema("target.yml")


def test_reserved_words_of_schemas_are_refused() -> None:
    assert schema_problem({"type": "string"}) is None
    assert schema_problem({"type": "string", "x-ours": 1, "anyOf": [{"minLength": 1}]}) is None
    assert schema_problem({"type": "integer", "minimun": 1}) == (
        "'minimun' is no keyword of JSON Schema; did you mean 'minimum'?"
    )
    # What YAML makes of `{type: number, description: how long, in seconds}`.
    assert "in seconds" in str(schema_problem({"type": "number", "description": "how long", "in seconds": None}))
    assert schema_problem({"type": "array", "items": {"type": "string", "lenght": 1}}) is not None
    assert schema_problem({"type": "object", "properties": {"a": {"$ref": "http://x"}}}) is not None
