from __future__ import annotations

from typing import Any

import pytest

from uici.model.base import JsonObject
from uici.model.identity import SelfGuardLayers, SelfIdentity, Selves

SETTINGS = {"health", "stop_seconds", "diagnostics", "reclaim", "backend"}
SELF = SelfIdentity(
    pids=frozenset({42}),
    names=frozenset({"uici", "a1b2"}),
    containers=frozenset({"0123456789abcdef" * 4}),
    pods=frozenset({"ops/uici-0"}),
    containing=frozenset({"stack", "node-7"}),
    state_paths=frozenset({"/var/lib/uici.db"}),
    state_addresses=frozenset({"db.example:5432"}),
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
        {"health": {"tcp": "db.example:5432"}},
    ],
)
def test_what_reaches_uici(value: Any) -> None:
    assert SELF.is_reached_by(value) is not None


@pytest.mark.parametrize(
    "value", [None, 42, {"uici": "web"}, {"container": "web"}, ["/var/lib/other.db"], "db.example:5433"]
)
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


@pytest.mark.parametrize("place", ["project", "namespace", "node", "host", "supervisor", "compartment", "cluster"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"health": {"http": "http://x/"}},
        {"stop_seconds": 1},
        {"diagnostics": {}},
        {"reclaim": {}},
        {"backend": {}},
        {"gitops": "override"},
        {"autoscaler": "adjust"},
    ],
)
def test_a_binding_that_says_only_a_place_means_all_that_is_in_it(place: str, settings: JsonObject) -> None:
    identity = SelfIdentity(containing=frozenset({"mine"}))
    assert identity.is_target((), {place: "mine", **settings}) == "mine"
    assert identity.is_target((), {place: "other", **settings}) is None
    assert identity.is_target((), {place: "mine", "name": "web", **settings}) is None


@pytest.mark.parametrize(("kind", "contains"), [("Node", True), ("Namespace", True), ("Deployment", False)])
def test_a_node_or_namespace_that_uici_is_in_is_a_target_that_contains_it(kind: str, contains: bool) -> None:
    identity = SelfIdentity(containing=frozenset({"mine"}))
    assert identity.is_target((), {"kind": kind, "name": "mine"}) == ("mine" if contains else None)
    assert identity.is_target((), {"kind": kind, "name": "other"}) is None


def test_a_namespace_may_be_called_as_uici_is_and_a_pod_is_told_by_its_id() -> None:
    identity = SelfIdentity(names=frozenset({"uici"}), pods=frozenset({"5f1c-uid"}))
    assert identity.is_reached_by({"namespace": "uici", "name": "web"}) is None
    assert identity.is_reached_by({"namespace": "web", "name": "uici"}) == "uici"
    assert identity.is_reached_by({"uid": "5f1c-uid"}) == "5f1c-uid"
    assert identity.is_reached_by(["elsewhere", {"uid": "other"}]) is None


def test_the_quick_look_finds_names_and_containers() -> None:
    identity = SelfIdentity(names=frozenset({"uici"}), containers=frozenset({"ab" * 32}))
    assert identity.may_begin(" /UICI-7d4b9c6f5-x2x8z")
    assert identity.may_begin("ab" * 6)
    assert not identity.may_begin("ab" * 5)
    assert not identity.may_begin("web")
    assert not SelfIdentity().may_begin("web")


def test_several_are_guarded_as_one() -> None:
    other = SelfIdentity(names=frozenset({"uici-1"}), pids=frozenset({43}), ancestors=frozenset({7}))
    joined = SELF.joined_with([other])
    assert joined.is_named_by(["uici-1"])
    assert joined.is_named_by(["uici"])
    assert joined.is_reached_by("db.example:5432")
    assert joined.pids == frozenset({42, 43})
    assert joined.ancestors == frozenset({7})
    assert SELF.joined_with([]) == SELF


def test_what_is_known_of_others_changes_only_with_them() -> None:
    selves = Selves(SELF)
    assert selves() is SELF
    other = SelfIdentity(names=frozenset({"uici-1"}))
    selves.learn_others([other])
    both = selves()
    assert both.is_named_by(["uici-1"]) == "uici-1"
    selves.learn_others([other])
    assert selves() is both
    selves.learn_others([])
    assert selves() == SELF
