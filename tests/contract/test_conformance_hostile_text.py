"""Hostile text in every argument of every executor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.driver import (
    CHANGES,
    DIAGNOSE,
    OF_WHAT_IS_MISSING,
    READS,
    Driver,
    arguments_of,
    outcome,
    possible,
    refusal,
)
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

HOSTILE = (
    "; touch {marker}",
    "$(touch {marker})",
    "`touch {marker}`",
    "| touch {marker} #",
    "a\ntouch {marker}",
    "a\r\n[program:evil]\r\ncommand=touch {marker}",
    "--privileged",
    "-v",
    "../../../../etc/passwd",
    "..",
    "a/b",
    "a?force=1&v=1",
    "a%2fb%(ENV_HOME)s",
    "{{{{ 7*7 }}}}",
    "${{parameters.x}}",
    "%s%n",
    "x" * 5000,
    "",
    "\x00",
    "nul\x00inside",
    "\u202eright-to-left",
    "\ud800",
)
UNREPRESENTABLE = ("\x00", "\ud800")
"""Characters that no variable of a process can hold, or no request."""


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_in_every_argument(driver: Driver, text: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    text = text.format(marker=marker)
    rig = driver.rig
    former = rig.instances()
    named = Driver(rig, driver.executor, rig.named(text))
    for name in possible((*READS, *CHANGES), rig):
        result = outcome(lambda name=name: named.do(name, **arguments_of(name, rig)))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        if isinstance(result, CallError):
            assert result.kind is FailureKind.PERMANENT, (name, result.message)
            assert len(result.message) < 2000
        elif name in ("status", "health"):
            assert result["state"] == "missing"
        else:
            assert name in OF_WHAT_IS_MISSING
    for name, argument in ((DIAGNOSE, "diagnostic"), ("set_backend", "state"), ("list", "state")):
        given = {argument: text}
        assert refusal(lambda name=name, given=given: driver.do(name, **given)).kind is FailureKind.PERMANENT  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    assert refusal(lambda: driver.do("deploy", version=text)).kind is FailureKind.PERMANENT
    assert refusal(lambda: driver.do("configure", environment={text: "x"})).kind is FailureKind.PERMANENT
    name, arguments = rig.open_read()
    for hostile in _with_text(arguments, text):
        result = outcome(lambda given=hostile: driver.do(name, **given))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert not isinstance(result, CallError) or result.kind is FailureKind.PERMANENT
    driver.executor.find({"name": text, "container": text, "program": text})
    assert rig.instances() == former
    assert not marker.exists()
    assert not Path("executed").exists()


def test_hostile_values_are_handed_on_as_they_are(driver: Driver, tmp_path: Path) -> None:
    """All at once, because each change of the configuration may be a rollout."""
    marker = tmp_path / "executed"
    texts = [text.format(marker=marker) for text in HOSTILE if not set(text).intersection(UNREPRESENTABLE)]
    values = {f"HOSTILE_{number}": text for number, text in enumerate(texts)}
    driver.do("configure", environment=values)
    assert driver.rig.environment_now().items() >= values.items()
    assert not marker.exists()
    assert not Path("executed").exists()


@pytest.mark.parametrize("text", UNREPRESENTABLE, ids=("nul", "surrogate"))
def test_a_value_that_no_process_can_have_is_refused(driver: Driver, text: str) -> None:
    assert refusal(lambda: driver.do("configure", environment={"HOSTILE": text})).kind is FailureKind.PERMANENT
    assert refusal(lambda: driver.do("configure", environment={"HOSTILE": f"a{text}b"})).kind is FailureKind.PERMANENT


def _with_text(value: JsonObject, text: str) -> Iterator[JsonObject]:
    """`value` with each of its strings replaced in turn, lists included."""
    for key, item in value.items():
        if isinstance(item, str):
            yield {**value, key: text}
        elif isinstance(item, list):
            for position, part in enumerate(item):
                if isinstance(part, str):
                    yield {**value, key: [*item[:position], text, *item[position + 1 :]]}
