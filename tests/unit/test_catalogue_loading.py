# ruff: noqa: E501 - a case is one line of YAML, as people write it
from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.catalogue import write_site
from uici.catalogue.diagnostics import CatalogueError, Diagnostic
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.model.call import Risk
from uici.model.identity import SelfGuardLayers, SelfIdentity, Selves
from uici.model.site import Autonomy, Site
from uici.runs.platforms import Platforms

EXECUTORS = discover_executors()
LADDER = "strategies: {{s: {{match: ['alertname=\"Down\"'], remedies: [{}]}}}}"
VERB = """
operation:
  summary: say hello
  risk: low
  mutates: false
translations:
  local: {calls: [{call: program.status, arguments: {target: "${target}"}}]}
  docker: {unsupported: nothing to say there}
tests:
  - {name: works, platform: local, target: {program: web}, expect: [{call: program.status, arguments: {target: {program: web}}}]}
"""


def load(folder: Path, **files: str) -> Site:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".yml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return load_site(folder, executors=EXECUTORS)


def problems(folder: Path, **files: str) -> list[Diagnostic]:
    with pytest.raises(CatalogueError) as caught:
        load(folder, **files)
    return list(caught.value.diagnostics)


def codes(found: list[Diagnostic]) -> list[str]:
    return [diagnostic.code for diagnostic in found]


def test_a_verb_is_translated_for_the_platforms_where_targets_live_and_for_no_other(tmp_path: Path) -> None:
    verb = VERB.replace("  docker: {unsupported: nothing to say there}\n", "")
    assert "hello" in load(tmp_path, operations__hello=verb).operations
    bound = "targets: {web: {bindings: {docker: {container: web}}}}"
    (missing,) = problems(tmp_path, targets=bound)
    assert (missing.code, "'docker'" in str(missing)) == ("missing_translation", True)


# --- overlay --------------------------------------------------------------------------------------------------------


def test_without_a_site_the_shipped_defaults_load() -> None:
    site = load_site(None, executors=EXECUTORS)
    assert list(site.environments) == ["local", "docker", "kubernetes", "oci"]
    assert site.policies.autonomy is Autonomy.PROPOSE


def test_an_empty_folder_is_the_shipped_defaults(tmp_path: Path) -> None:
    assert load(tmp_path).model_dump() == load_site(None, executors=EXECUTORS).model_dump()


def test_policies_and_platform_merge_field_by_field(tmp_path: Path) -> None:
    site = load(
        tmp_path, policies="blast_radius: {max_concurrent: 7}", platform="service: {listen: '0.0.0.0:1'}"
    )  # fmt: skip
    assert site.policies.blast_radius.max_concurrent == 7
    assert site.policies.blast_radius.max_per_hour == 20
    assert site.policies.cooldown.seconds == 300
    assert (site.platform.service.listen, site.platform.service.max_json_depth) == ("0.0.0.0:1", 32)


def test_strategies_of_the_site_come_first_and_replace_as_a_whole(tmp_path: Path) -> None:
    text = """
strategies:
  mine: {match: ['alertname="X"'], action: escalate}
  service_down: {match: ['alertname="Y"'], action: ignore}
"""
    site = load(tmp_path, strategies=text)
    assert list(site.strategies)[:2] == ["mine", "service_down"]
    assert site.strategies["service_down"].remedies == ()
    assert "crash_loop" in site.strategies


def test_null_removes_a_shipped_entry(tmp_path: Path) -> None:
    site = load(tmp_path, strategies="strategies: {crash_loop: null}", environments="environments: {docker: null}")
    assert "crash_loop" not in site.strategies
    assert list(site.environments) == ["local", "kubernetes", "oci"]


def test_removing_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, strategies="strategies:\n  crash_lop: null\n")
    assert (found.code, found.line, found.suggestion) == ("nothing_to_remove", 2, "crash_loop")


def test_a_removed_operation_takes_its_translations_along(tmp_path: Path) -> None:
    assert "stop_service" not in load(tmp_path, operations="operations: {stop_service: null}").operations


def test_an_operation_is_replaced_and_keeps_its_translations(tmp_path: Path) -> None:
    text = "operations: {stop_service: {summary: stop it, risk: destructive, mutates: true, reversible: false, irreversible_because: it is stopped}}"
    operation = load(tmp_path, operations=text).operations["stop_service"]
    assert operation.risk is Risk.DESTRUCTIVE
    assert operation.source == f"{tmp_path / 'operations.yml'}:1"
    assert {"local", "docker", "kubernetes", "oci"} <= set(operation.translations)


def test_one_platforms_translation_can_be_replaced(tmp_path: Path) -> None:
    site = load(
        tmp_path,
        command_translations="translations: {stop_service: {local: {unsupported: not on this machine}}}",
    )
    assert site.operations["stop_service"].translations["local"].unsupported == "not on this machine"
    assert site.operations["stop_service"].translations["docker"].calls


def test_diagnostics_point_into_the_file_that_was_written(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, policies="cooldown:\n  secnds: 3\n")
    assert str(found) == (
        f"{tmp_path / 'policies.yml'}:2:3: unknown_key: cooldown.secnds is not known here; valid choices seconds; "
        "did you mean 'seconds'?"
    )


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="uici init"):
        load_site(tmp_path / "none", executors=EXECUTORS)


def test_a_file_with_nearly_the_right_name_is_not_silently_ignored(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, strategys="strategies: {}")
    assert (found.code, found.suggestion) == ("unknown_file", "strategies.yml")
    assert codes(problems(tmp_path, strategys="x: y")) == ["unknown_file"]


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    load(tmp_path, compose="services: {web: {image: x}}")


def test_the_folder_may_be_the_present_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "targets.yml").write_text("targets: {web: {bindings: {local: {program: web}}}}")
    (tmp_path / "operations").mkdir()
    (tmp_path / "operations" / "say_hello.yml").write_text(VERB)
    monkeypatch.chdir(tmp_path)
    site = load_site(Path(), executors=EXECUTORS)
    assert "web" in site.targets
    assert site.operations["say_hello"].source == "operations/say_hello.yml:2"


def test_verbs_of_a_site_inside_and_beside_its_folder(tmp_path: Path) -> None:
    inside = load(tmp_path / "a", operations__say_hello=VERB)
    assert inside.operations["say_hello"].source.endswith("say_hello.yml:2")
    assert [test.name for test in inside.verb_tests["say_hello"]] == ["works"]
    (tmp_path / "b" / "operations").mkdir(parents=True)
    (tmp_path / "b" / "operations" / "say_hello.yml").write_text(VERB)
    assert "say_hello" in load(tmp_path / "b" / "config", policies="").operations


def test_a_verb_without_tests_is_told_what_a_test_is(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, operations__say_hello=VERB[: VERB.index("tests:")])
    assert found.code == "missing_key"
    assert "tests is missing; it is a list of at least one test of the verb: name, platform, target" in found.text


def test_the_same_verb_twice_names_both_places(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, operations__restart_service=VERB)
    assert found.code == "duplicate_operation"
    assert found.file.endswith("restart_service.yml")
    assert "operations.yml:" in found.text
    (shipped,) = problems(tmp_path / "other", operations__reload_service=VERB)
    assert shipped.text.count("reload_service") >= 2


# --- shape ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "code", "line", "words"),
    [
        ("platform", "servce: {}", "unknown_key", 1, "did you mean 'service'"),
        ("platform", "service: {max_json_depth: 3}", "wrong_value", 1, "max_json_depth"),
        ("platform", "service: {max_json_depth: '32'}", "wrong_type", 1, "a whole number, not a text"),
        ("platform", "service: []", "wrong_type", 1, "must be a mapping, not a list"),
        ("platform", "notify: {webhook: 'https://hooks.example/s3cr3t'}", "inline_secret", 1, "${env:NAME}"),
        ("environments", "default: locl", "unknown_environment", 1, "did you mean 'local'"),
        ("environments", "environments: {x: {platform: dokcer}}", "unknown_platform", 1, "did you mean 'docker'"),
        ("environments", "environments: {x: {}}", "missing_key", 1, "environments.x.platform is missing"),
        ("environments", "environments: {x: {platform: docker, connection: {bse_url: a}}}", "unknown_key", 1, "base_url"),
        ("environments", "environments: {x: {platform: local, autonomy: full}}", "wrong_value", 1, "observe, propose"),
        ("environments", "environments: {x: {platform: local, match: [a]}}", "wrong_value", 1, "is not a matcher"),
        (
            "environments",
            "environments: {x: {platform: docker, connection: {password: hunter2}}}",
            "inline_secret",
            1,
            "by reference only",
        ),
        ("targets", "targets: {web: {bindings: {locl: {program: web}}}}", "unknown_environment", 1, "'local'"),
        ("targets", "targets: {web: {bindings: {local: {progam: web}}}}", "unknown_key", 1, "did you mean 'program'"),
        ("targets", "targets: {web: {bindings: {local: {program: web, environment: {A: '${env:A}'}}}}}",
         "reference_in_binding", 1, "read its secret itself"),
        ("targets", "targets: {web: {bindings: {}}}", "wrong_value", 1, "bindings"),
        ("targets", "targets: {'a b': {bindings: {local: {program: web}}}}", "wrong_name", 1, "'a b'"),
        (
            "targets",
            "targets:\n  a: {aliases: [x], bindings: {local: {program: a}}}\n"
            "  b: {aliases: [x], bindings: {local: {program: b}}}",
            "duplicate_name",
            3,
            "already means the target 'a'",
        ),
        ("policies", "risk: {auto_approve_up_to: destructive}", "destructive_never_automatic", 1, "low, medium, high"),
        ("policies", "give_up: {within_seconds: 500}", "threshold_conflict", 1, "never happen"),
        ("strategies", LADDER.format("{name: a, steps: [restart_service], prior: {good: 2}}"),
         "prior_without_alternative", 1, "drop the prior"),
        ("strategies", LADDER.format("{name: a, steps: [restart_service], alternative: g}"),
         "lone_alternative", 1, "no other remedy"),
        ("strategies",
         LADDER.format("{name: a, steps: [restart_service], alternative: g},\n  {name: b, steps: [start_service]},\n"
                       "  {name: c, steps: [start_service], alternative: g}"),
         "alternatives_apart", 3, "next to each other"),
        ("strategies", LADDER.format("{name: a, steps: [restart_service], alternative: g, prior: {good: 0}}"),
         "wrong_value", 1, "0.5"),
        ("policies", "learning: {policy: tompson}", "wrong_value", 1, "thompson, q_learning, fixed"),
        ("policies", "learning: {half_life_seconds: 0}", "wrong_value", 1, "60"),
        ("strategies", "strategies:\n  x:\n    match: ['a=\"b\"']\n    fallback: true\n"
                       "    remedies: [{name: r, steps: [restart_service]}]",
         "fallback_without_council", 4, "drop `fallback`"),
        ("strategies", "strategies: {x: {match: ['a=\"b\"'], action: escalate, fallback: true}}",
         "wrong_value", 1, "fallback belongs to action: heal"),
        ("policies", "autonomy: on", "wrong_value", 1, "observe, propose, approve, auto"),
        ("findings", "findings: {x: {summary: a, when: [{operation: chek_logs, all: [{field: lines, matches: a}]}]}}",
         "unknown_operation", 1, "did you mean 'check_logs'"),
        ("findings", "findings: {x: {summary: a, when: [{operation: restart_service, all: [{field: state, equals: a}]}]}}",
         "not_read_only", 1, "changes something"),
        ("findings", "findings: {x: {summary: a, when: [{operation: check_logs, all: [{field: line, matches: a}]}]}}",
         "unknown_field", 1, "did you mean 'lines'"),
        ("findings", "findings: {x: {summary: a, when: [{operation: check_logs, all: [{field: lines, matches: '('}]}]}}",
         "wrong_value", 1, "is not a regular expression"),
        ("findings", "findings: {x: {summary: a, when: [{operation: check_logs, all: [{field: lines}]}]}}",
         "wrong_value", 1, "exactly one test"),
        ("strategies", "strategies: {x: {match: ['a=\"b\"']}}", "wrong_value", 1, "needs remedies"),
        ("strategies", "strategies: {x: {match: ['a=\"b\"'], remedies: [{name: r, steps: [restrt_service]}]}}",
         "unknown_operation", 1, "did you mean 'restart_service'"),
        ("strategies", "strategies: {x: {match: ['a=\"b\"'], remedies: [{name: r, steps: [{operation: scale_service, parameters: {replcas: 3, replicas: 2}}]}]}}",
         "unknown_parameter", 1, "did you mean 'replicas'"),
        ("strategies", "strategies: {x: {match: ['a=\"b\"'], remedies: [{name: r, steps: [scale_service]}]}}",
         "missing_parameter", 1, "replicas"),
        ("strategies", "strategies: {x: {match: ['a=\"b\"'], remedies: [{name: r, steps: [{operation: scale_service, parameters: {replicas: '3'}}]}]}}",
         "wrong_type", 1, "a whole number"),
        ("strategies", "strategies: {x: {match: ['a=\"b\"'], remedies: [{name: r, when: {any: [oom_kiled]}, steps: [restart_service]}]}}",
         "unknown_finding", 1, "did you mean 'oom_killed'"),
        ("strategies", "strategies: {x: {match: ['a=\"b\"'], diagnose: [stop_service], remedies: [{name: r, steps: [restart_service]}]}}",
         "not_read_only", 1, "must only read"),
        ("strategies", "strategies: {x: {match: ['a=\"b\"'], remedies: [{name: r, steps: [restart_service], verify: {interval: 90}}]}}",
         "threshold_conflict", 1, "second time"),
        ("strategies", "strategies: {x: {match: ['a=\"b\"'], remedies: [{name: r, steps: [{operation: escalate_to_human, parameters: {message: 'at ${target.x}'}}]}]}}",
         "partial_reference", 1, "whole value"),
        ("command_translations", "translations: {stop_servce: {local: {unsupported: no reason at all}}}",
         "unknown_operation", 1, "did you mean 'stop_service'"),
        ("command_translations", "translations: {stop_service: {lcal: {unsupported: no reason at all}}}",
         "unknown_platform", 1, "did you mean 'local'"),
        ("command_translations", "translations: {stop_service: {local: {calls: [{call: program.stpo}]}}}",
         "unknown_call", 1, "did you mean 'program.stop'"),
        ("command_translations", "translations: {stop_service: {local: {}}}", "wrong_value", 1, "either calls or the reason"),
        ("command_translations", "translations: {stop_service: {local: {calls: [{call: program.stop, arguments: {tgt: 1, target: '${target}'}}]}}}",
         "unknown_parameter", 1, "did you mean 'target'"),
        ("command_translations", "translations: {stop_service: {local: {calls: [{call: program.stop}]}}}",
         "missing_parameter", 1, "target"),
        ("command_translations", "translations: {stop_service: {local: {calls: [{call: program.stop, arguments: {target: '${taget}'}}]}}}",
         "unknown_reference", 1, "${target"),
        ("command_translations", "translations: {scale_service: {local: {calls: [{call: program.scale, arguments: {target: '${target}', replicas: '${parameters.replcas}'}}]}}}",
         "unknown_reference", 1, "did you mean 'parameters.replicas'"),
        ("command_translations", "translations: {stop_service: {local: {calls: [{call: program.stop, arguments: {target: 'x-${target}'}}]}}}",
         "partial_reference", 1, "whole value"),
        ("command_translations", "translations: {stop_service: {local: {calls: [{call: program.stop, risk: low, arguments: {target: '${target}'}}]}}}",
         "risk_lowered", 1, "high, destructive"),
        ("command_translations", "translations: {check_logs: {local: {calls: [{call: program.stop, arguments: {target: '${target}'}}]}}}",
         "mutating_call", 1, "changes something"),
        ("command_translations", "translations: {check_logs: {docker: {calls: [{call: engine.request, arguments: {method: POST, path: [a]}}]}}}",
         "mutating_call", 1, "changes something"),
        ("command_translations", "translations: {wait: {local: {unsupported: no reason at all}}}",
         "builtin_and_platform", None, "built in"),
        ("operations", "operations: {x: {summary: a verb, risk: low, mutates: false}}", "missing_translation", 1, "'local'"),
        ("operations", "operations: {x: {summary: a verb, risk: low, mutates: true}}", "wrong_value", 1, "needs an inverse"),
        ("operations", "operations: {x: {summary: a verb, risk: lwo, mutates: false}}", "wrong_value", 1, "did you mean 'low'"),
        ("operations", "operations: {x: {summary: a verb, risk: low, mutates: false, parameters: {a: {type: strin}}}}",
         "bad_schema", 1, "strin"),
        ("operations", "operations: {x: {summary: a verb, risk: low, mutates: false, parameters: {a: {$ref: 'file:///etc/passwd'}}}}",
         "bad_schema", 1, "$ref is not allowed"),
        ("operations", "operations: {x: {summary: a verb, risk: low, mutates: false, parameters: {a: {type: string, pattern: '('}}}}",
         "bad_schema", 1, "pattern: '('"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_at_its_place(
    tmp_path: Path, file: str, text: str, code: str, line: int | None, words: str
) -> None:
    found = problems(tmp_path, **{file: text})
    hits = [each for each in found if each.code == code]
    assert hits, [str(each) for each in found]
    assert any(words in str(each) for each in hits), [str(each) for each in hits]
    if line is not None:
        assert any((each.file, each.line) == (str(tmp_path / f"{file}.yml"), line) for each in hits)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("required: [b]", "unknown_parameter"),
        ("parameters: {a: {type: integer, default: x}}", "bad_default"),
        ("before: {read: restart_service, keep: {a: state}}", "not_read_only"),
        ("before: {read: get_service_status, keep: {a: stat.x}}", "unknown_field"),
        ("inverse: {operation: get_service_status}", "wrong_inverse"),
        ("inverse: {operation: scale_service, parameters: {replicas: '${before.b}'}}", "unknown_reference"),
        ("inverse: {operation: scale_service, parameters: {}}", "missing_parameter"),
        ("verification: {read: get_service_status, expect: [{field: stat, equals: 1}]}", "unknown_field"),
        ("preconditions: [{field: stat, equals: 1}]", "unknown_field"),
    ],
)
def test_what_an_operation_reads_undoes_and_verifies_must_exist(tmp_path: Path, change: str, code: str) -> None:
    fields = {
        "summary": "summary: a verb",
        "risk": "risk: medium",
        "mutates": "mutates: true",
        "before": "before: {read: get_service_status, keep: {a: desired}}",
        "inverse": "inverse: {operation: scale_service, parameters: {replicas: '${before.a}'}}",
        change.partition(":")[0]: change,
    }
    text = "operations:\n  x:\n" + "".join(f"    {line}\n" for line in fields.values())
    translations = "translations: {x: {local: {unsupported: only for a test}, docker: {unsupported: only for a test}}}"
    assert code in codes(problems(tmp_path, operations=text, command_translations=translations))


def test_all_problems_of_all_files_come_at_once_in_order(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        policies="cooldwn: {}\nautonomy: 1\n",
        targets="targets: {web: {bindings: {nowhere: {}}}}",
        strategies="a: [",
        findings="x: 1\nx: 2\n",
    )
    assert [(Path(each.file).name, each.code) for each in found] == [
        ("findings.yml", "unknown_key"),
        ("findings.yml", "duplicate_key"),
        ("policies.yml", "unknown_key"),
        ("policies.yml", "wrong_value"),
        ("strategies.yml", "bad_yaml"),
        ("targets.yml", "unknown_environment"),
    ]
    assert found == sorted(found)
    assert len({each.file for each in found}) == 4


def test_a_broken_entry_does_not_make_every_mention_of_it_a_problem(tmp_path: Path) -> None:
    found = problems(tmp_path, operations="operations:\n  restart_service: {summary: a verb}\n")
    assert {each.line for each in found} == {2}
    assert {each.code for each in found} == {"missing_key"}


def test_a_secret_never_appears_in_a_diagnostic(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        platform="notify: {webhook: canary-1}",
        environments="environments: {x: {platform: docker, connection: {token: canary-2, base_url: [canary-3]}}}",
    )
    assert "canary" not in "".join(map(str, found))


def test_a_reference_is_judged_by_what_it_stands_for_and_not_by_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "environments.yml").write_text(
        "environments:\n"
        "  far: {platform: docker, connection: {base_url: '${env:ENGINE}', timeout_seconds: '${env:PATIENCE}'}}\n"
    )
    executors = discover_executors()
    site = load_site(tmp_path, executors=executors)
    platforms = Platforms(lambda: site, executors, Selves(SelfIdentity()), SelfGuardLayers(), tmp_path)
    monkeypatch.setenv("PATIENCE", "3")
    monkeypatch.setenv("ENGINE", "unix:///canary/docker.sock")
    assert "canary" in platforms.check("far")[1]
    monkeypatch.setenv("ENGINE", "canary-4-is-no-address")
    platforms.close()
    ok, said = platforms.check("far")
    assert not ok
    assert "environments.far.connection.base_url: base_url is unix:///" in said
    assert "canary-4" not in said


def test_a_copy_with_changes_leaves_what_is_shared_alone(tmp_path: Path) -> None:
    folder = write_site(tmp_path / "site", 2, 1)
    operations = load_site(folder, executors=EXECUTORS).operations
    one, other = operations["verb_0"], operations["verb_1"]
    assert one.model_fields_set is other.model_fields_set
    before = set(one.model_fields_set)
    assert "keep_result" in one.model_copy(update={"keep_result": True}).model_fields_set
    assert one.model_fields_set == before
