"""What every executor publishes: its calls, their classes, its models."""

from __future__ import annotations

import subprocess
import sys

from jsonschema import Draft202012Validator

from tests.contract.driver import (
    BACKEND,
    CHANGES,
    DIAGNOSE,
    READS,
    Driver,
    arguments_of,
    possible,
    refusal,
)
from tests.contract.rig import Rig
from uici.model.call import FailureKind, Risk


def test_every_contracted_call_is_published(rig: Rig) -> None:
    specs = rig.executor().call_specs
    unpublished = {name for name, code in rig.cannot.items() if code == "unknown_call"}
    contracted = {*READS, DIAGNOSE, BACKEND, *CHANGES} - unpublished
    assert {f"{rig.prefix}.{name}" for name in contracted} <= set(specs)
    assert any(spec.open for spec in specs.values())
    for name, spec in specs.items():
        assert spec.name == name
        assert spec.summary
        assert spec.returns
        assert spec.timeout_seconds > 0
    for name in (*READS, DIAGNOSE, BACKEND):
        assert not specs[f"{rig.prefix}.{name}"].mutates
        assert specs[f"{rig.prefix}.{name}"].risk is Risk.LOW
    for name in possible(CHANGES, rig):
        assert specs[f"{rig.prefix}.{name}"].mutates
        assert specs[f"{rig.prefix}.{name}"].provable


def test_argument_schemas_are_closed_and_valid(rig: Rig) -> None:
    for spec in rig.executor().call_specs.values():
        Draft202012Validator.check_schema(spec.arguments)
        assert spec.arguments["type"] == "object"
        assert spec.arguments["additionalProperties"] is False
        if not spec.open:
            assert "target" in spec.arguments["required"]


def test_bindings_and_settings_are_closed(rig: Rig) -> None:
    executor = rig.executor()
    for model in (executor.binding_model, executor.settings_model):
        assert model.model_json_schema()["additionalProperties"] is False


def test_named_calls_are_classed_as_published(driver: Driver) -> None:
    for name, spec in driver.executor.call_specs.items():
        if not spec.open:
            assert driver.executor.classify(name, {}) == (spec.mutates, spec.risk)


def test_open_calls_are_classed_by_what_they_do(driver: Driver) -> None:
    name, arguments = driver.rig.open_read()
    assert driver.executor.classify(name, arguments) == (False, Risk.LOW)
    name, arguments = driver.rig.open_change()
    assert driver.executor.classify(name, arguments) == (True, Risk.HIGH)
    # What cannot be understood is taken for the worst.
    assert driver.executor.classify(name, {}) == (True, driver.executor.call_specs[name].risk)


def test_what_the_platform_cannot_do_is_refused_while_planning(driver: Driver) -> None:
    for name, code in driver.rig.cannot.items():
        if code:
            arguments = {"target": driver.binding, **arguments_of(name, driver.rig)}
            full = f"{driver.rig.prefix}.{name}"
            error = refusal(lambda full=full, given=arguments: driver.executor.classify(full, given))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            assert (error.kind, error.code) == (FailureKind.PERMANENT, code)


def test_unknown_call_is_refused(driver: Driver) -> None:
    error = refusal(lambda: driver.executor.classify("no.such.call", {}))
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "unknown_call")


def test_import_loads_no_sdk(rig: Rig) -> None:
    program = (
        f"import sys, executors.{rig.platform} as e\n"
        "names = {name.split('.')[0] for name in sys.modules}\n"
        "sdks = names & {'docker', 'supervisor', 'kubernetes', 'oci', 'requests'}\n"
        "assert not sdks, sdks\n"
        "cls = [v for v in vars(e).values() if getattr(v, 'platform', None)][0]\n"
        "assert cls.call_specs and cls.settings_model.model_json_schema() and cls.binding_model.model_json_schema()\n"
        "sdks = {name.split('.')[0] for name in sys.modules} & {'docker', 'supervisor', 'kubernetes', 'oci'}\n"
        "assert not sdks, sdks\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
