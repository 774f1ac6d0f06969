from __future__ import annotations

from typing import Any

import pytest

from uici.model.identity import SelfGuardLayers, SelfIdentity

SETTINGS = {"health", "stop_seconds", "diagnostics", "reclaim", "backend"}
SELF = SelfIdentity(
    pids=frozenset({42}),
    names=frozenset({"uici", "a1b2"}),
    containers=frozenset({"0123456789abcdef" * 4}),
    pods=frozenset({"ops/uici-0"}),
    containing=frozenset({"stack", "node-7"}),
    state_paths=frozenset({"/var/lib/uici.db"}),
)


@pytest.mark.parametrize("name", ["uici", " UICI ", "/uici", "a1b2", "0123456789ab", "0123456789abcdef" * 4])
def test_names_and_ids_of_uici(name: str) -> None:
    assert SELF.is_named_by(["web", name]) == name


@pytest.mark.parametrize("name", ["", "/", "uici2", "my-uici", "0123456789a", "1123456789ab", "stack"])
def test_other_names(name: str) -> None:
    assert SELF.is_named_by([name]) is None


def test_an_empty_name_names_nothing() -> None:
    nameless = SelfIdentity(names=frozenset({""}))
    assert nameless.is_named_by(["", " ", "/"]) is None


@pytest.mark.parametrize(
    "value",
    [
        "uici",
        {"container": "uici"},
        {"deep": [{"x": ["0123456789ab"]}]},
        {"path": "/var/lib/uici.db"},
        ("ops/uici-0",),
    ],
)
def test_what_reaches_uici(value: Any) -> None:
    assert SELF.is_reached_by(value) is not None


@pytest.mark.parametrize("value", [None, 42, {"uici": "web"}, {"container": "web"}, ["/var/lib/other.db"]])
def test_what_does_not(value: Any) -> None:
    assert SELF.is_reached_by(value) is None


@pytest.mark.parametrize(
    ("names", "binding", "by"),
    [
        (["web"], {"container": "web"}, None),
        (["web", "uici"], None, "uici"),
        (["web"], {"container": "uici"}, "uici"),
        (["all"], {"project": "stack"}, "stack"),
        (["all"], {"project": "stack", "stop_seconds": 3, "health": {"tcp": "x:1"}}, "stack"),
        (["all"], {"node": "node-7"}, "node-7"),
        (["all"], {"project": "other"}, None),
        (["prometheus"], {"service": "prometheus", "project": "stack"}, None),
        (["all"], {}, None),
        (["all"], {"stop_seconds": 3}, None),
        *((["all"], {"project": "stack", setting: {"x": "y"}}, "stack") for setting in sorted(SETTINGS)),
        (["all"], {"namespace": "stack"}, "stack"),
        (["all"], {"host": "stack"}, "stack"),
        (["all"], {"supervisor": "stack"}, "stack"),
        (["all"], {"compartment": "stack"}, "stack"),
        (["all"], {"cluster": "stack"}, "stack"),
        (
            ["all"],
            dict.fromkeys(["project", "namespace", "node", "host", "supervisor", "compartment", "cluster"], "node-7"),
            "node-7",
        ),
        (["all"], {"project": "stack", "other": "x"}, None),
        (["all"], "stack", None),
        (["all"], ["stack"], None),
    ],
)
def test_a_target_is_uici_by_name_by_binding_or_as_a_whole(names: list[str], binding: Any, by: str | None) -> None:
    assert SELF.is_target(names, binding) == by


def test_all_layers_are_on_unless_a_test_says_otherwise() -> None:
    assert set(SelfGuardLayers().model_dump().values()) == {True}
    assert set(SelfGuardLayers().model_dump()) == {"intake", "planning", "translation", "executor"}
