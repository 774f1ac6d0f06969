from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from tests.unit.sites import alert, site
from uici.intake import targeting
from uici.intake.pod_names import owners_of_pod
from uici.intake.targeting import Targeted, TargetIndex, index_of
from uici.model.alert import Alert
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.site import Site

NOBODY = SelfIdentity()
RULES: list[dict[str, Any]] = [
    {"name": "explicit", "use": "label", "label": "uici_target"},
    {"name": "own-matchers", "use": "target_matchers"},
    {"name": "deployment", "use": "label", "label": "deployment", "namespace_label": "namespace"},
    {"name": "pod", "use": "label", "label": "pod", "namespace_label": "namespace", "owner_of_pod": True},
    {"name": "container", "use": "label", "label": "container", "equals": "container"},
    {"name": "ask", "use": "lookup", "label": "container_id"},
    {"name": "job", "use": "label", "label": "job", "messenger": True},
]


def _site(targets: dict[str, Any], **changes: Any) -> Site:
    return site(
        targeting={
            "exporters": ['job=~"kube-state-metrics|cadvisor"'],
            "victim_labels": ["deployment", "pod", "container"],
            "rules": RULES,
        },
        targets=targets,
        **changes,
    )


def resolve(about: Alert, where: Site, identity: SelfIdentity, layers: SelfGuardLayers | None = None) -> Targeted:
    return index_of(where).resolve(about, identity, layers)


WEB = {"web": {"bindings": {"local": {"program": "web"}}}}


@pytest.mark.parametrize(
    "labels",
    [
        {"alertname": "KubePodCrashLooping", "pod": "web-7d4b9c6f5-x2x8z", "container": "app"},
        {"alertname": "KubePodNotReady", "pod": "web-7d4b9c6f5-zz9kq"},
        {"alertname": "KubeContainerWaiting", "pod": "web-7d4b9c6f5-x2x8z", "container": "app"},
        {"alertname": "KubeDeploymentReplicasMismatch", "deployment": "web"},
    ],
)
def test_four_alert_names_of_one_deployment_are_one_target(labels: dict[str, str]) -> None:
    found = resolve(
        alert(namespace="shop", job="kube-state-metrics", instance="10.0.0.1:8080", service="ksm", **labels),
        _site({**WEB, "kube-state-metrics": {"bindings": {"local": {"program": "ksm"}}}}),
        NOBODY,
    )
    assert (found.environment, found.target) == ("local", "web")


def test_exporter_labels_alone_name_no_target_and_the_reason_says_what_to_do() -> None:
    found = resolve(
        alert(alertname="Down", job="kube-state-metrics", instance="10.0.0.1:8080"),
        _site({"kube-state-metrics": {"bindings": {"local": {"program": "ksm"}}}}),
        NOBODY,
    )
    assert found.target is None
    assert not found.is_self
    for words in ("job", "exporter", "'10.0.0.1:8080'", "targets.yml", "aliases", "own-matchers"):
        assert words in found.reason
    # A rule whose label the alert lacks would only lengthen what somebody reads at night.
    assert "explicit" not in found.reason


def test_a_mistyped_name_is_answered_with_the_near_one() -> None:
    assert "did you mean 'web'" in resolve(alert(uici_target="wbe"), _site(WEB), NOBODY).reason


def test_a_messenger_label_counts_when_nothing_names_a_victim() -> None:
    assert resolve(alert(job="web"), _site(WEB), NOBODY).rule == "job"
    skipped = resolve(alert(job="web", pod="unknown"), _site(WEB), NOBODY)
    assert skipped.target is None
    assert "label pod names the victim" in skipped.reason


def test_the_first_rule_that_names_one_target_wins_and_an_ambiguous_one_decides_nothing() -> None:
    two = {
        "a": {"aliases": ["db"], "bindings": {"local": {"container": "one"}}},
        "b": {"aliases": ["db"], "bindings": {"local": {"container": "two"}}},
    }
    assert resolve(alert(deployment="db", container="two"), _site(two), NOBODY).target == "b"
    unsure = resolve(alert(deployment="db"), _site(two), NOBODY)
    assert unsure.target is None
    assert unsure.candidates == ("a", "b")
    assert "several: a, b" in unsure.reason


def test_a_rule_is_tried_only_when_its_when_matches() -> None:
    rules = [
        {"name": "ask", "use": "lookup", "label": "id", "when": ['kind="container"']},
        {"name": "team", "use": "label", "label": "team", "when": ['kind="app"']},
    ]
    where = site(targeting={"rules": rules}, targets=WEB)
    assert resolve(alert(team="web", kind="app"), where, NOBODY).target == "web"
    unmet = resolve(alert(team="web", id="5"), where, NOBODY)
    assert (unmet.target, unmet.needs_lookup) == (None, ())
    assert "its `when` does not match" in unmet.reason
    assert "to go by: none" in resolve(alert(kind="container"), where, NOBODY).reason
    asking = resolve(alert(kind="container", id="web"), where, NOBODY)
    assert (asking.target, len(asking.needs_lookup)) == (None, 1)
    assert resolve(alert(kind="container"), where, NOBODY).needs_lookup == ()


def test_matchers_of_a_target_must_all_match() -> None:
    targets = {
        "eq": {"match": ['app="x"', 'team!="red"'], "bindings": {"local": {}}},
        "re": {"match": ['shard=~"s.+"'], "bindings": {"local": {}}},
        "not": {
            "match": ['lost!="yes"', 'kind=~"odd|"', 'only!~".+"', 'marker=~"m?"', 'x=""'],
            "bindings": {"local": {}},
        },
    }
    index = TargetIndex(_site(targets))
    assert index.resolve(alert(app="x", lost="yes"), NOBODY).target == "eq"
    assert index.resolve(alert(app="x", team="red", lost="yes"), NOBODY).target is None
    assert index.resolve(alert(shard="s1", lost="yes"), NOBODY).target == "re"
    assert index.resolve(alert(other="1"), NOBODY).target == "not"


def test_a_namespace_narrows_bindings_that_have_one() -> None:
    targets = {
        "web-a": {"aliases": ["web"], "bindings": {"local": {"namespace": "a"}}},
        "web-b": {"aliases": ["web"], "bindings": {"local": {"namespace": "b"}}},
    }
    assert resolve(alert(deployment="web", namespace="b"), _site(targets), NOBODY).target == "web-b"
    assert resolve(alert(deployment="web", namespace="c"), _site(targets), NOBODY).target is None


ENVIRONMENTS = {
    "local": {"platform": "local"},
    "east": {"platform": "docker", "match": ['cluster="east"']},
    "west": {"platform": "docker", "match": ['cluster=~"west|both"']},
    "north": {"platform": "docker", "match": ['cluster="both"']},
}


@pytest.mark.parametrize(
    ("labels", "bound", "environment"),
    [
        ({"cluster": "east", "uici_environment": "west"}, ("east", "west"), "east"),
        ({"uici_environment": "west"}, ("east", "west", "local"), "west"),
        ({}, ("west",), "west"),
        ({}, ("west", "local"), "local"),
        ({}, ("west", "east"), None),
        ({"cluster": "east"}, ("west",), None),
        ({"uici_environment": "nowhere"}, ("west",), None),
        ({"cluster": "both"}, ("west", "east"), "west"),
        ({"cluster": "both"}, ("west", "north"), None),
    ],
)
def test_environments(labels: dict[str, str], bound: tuple[str, ...], environment: str | None) -> None:
    where = _site({"web": {"bindings": {name: {} for name in bound}}}, environments=ENVIRONMENTS)
    found = resolve(alert(uici_target="web", **labels), where, NOBODY)
    assert (found.target is not None) == (environment is not None)
    if environment is not None:
        assert found.environment == environment
    else:
        assert "match" in found.reason


def test_an_alert_without_target_keeps_the_environment_that_a_lookup_needs() -> None:
    where = _site(WEB, environments=ENVIRONMENTS)
    found = resolve(alert(container_id="abc", cluster="east"), where, NOBODY)
    assert found.environment == "east"
    assert [rule.name for rule in found.needs_lookup] == ["ask"]
    assert resolve(alert(container_id="abc"), where, NOBODY).environment == "local"
    assert resolve(alert(container_id="abc", deployment="web"), where, NOBODY).needs_lookup == ()


def test_lookups_are_matched_by_what_both_bindings_say() -> None:
    where = _site(
        {
            "a": {"bindings": {"local": {"container": "one", "health": {"tcp": "x:1"}}}},
            "b": {"bindings": {"local": {"service": "two", "project": "p", "stop_seconds": 3}}},
            "c": {"bindings": {"local": {"labels": {"app": "c"}}}},
        }
    )
    assert index_of(where).match_found(({"container": "one"},), "local") == "a"
    assert index_of(where).match_found(({"container": "two-1"}, {"service": "two", "project": "p"}), "local") == "b"
    assert index_of(where).match_found(({"container": "two-1", "service": "two", "project": "p"},), "local") == "b"
    assert index_of(where).match_found(({"labels": {"app": "c", "tier": "x"}},), "local") == "c"
    assert index_of(where).match_found(({"container": "other", "project": "p"},), "local") is None
    assert index_of(where).match_found(({"container": "one"}, {"service": "two"}), "local") is None
    assert index_of(where).match_found(({"container": "one"},), "elsewhere") is None
    assert index_of(where).match_found((), "local") is None


@pytest.mark.parametrize(
    ("pod", "owner"),
    [("web-7d4b9c6f5-x2x8z", "web"), ("db-0", "db"), ("node-exporter-x2x8z", "node-exporter")],
)
def test_owners_of_pods(pod: str, owner: str) -> None:
    assert owner in owners_of_pod(pod)


def test_a_pod_that_two_targets_may_own_is_ambiguous() -> None:
    both: dict[str, Any] = {name: {"bindings": {"local": {}}} for name in ("web", "web-7d4b9c6f5")}
    found = resolve(alert(pod="web-7d4b9c6f5-x2x8z"), _site(both), NOBODY)
    assert found.target is None
    assert set(found.candidates) == set(both)


SELF = SelfIdentity(
    names=frozenset({"uici", "healer", "own"}), containers=frozenset({"ab" * 32}), pods=frozenset({"ops/uici-x"}),
    containing=frozenset({"stack"}),
)  # fmt: skip


@pytest.mark.parametrize(
    "labels",
    [
        {"uici_target": "me"},
        {"deployment": "nick"},
        {"uici_target": "bound"},
        {"uici_target": "everything"},
        {"container": "UICI"},
        {"name": "/uici"},
        {"container_id": "ab" * 6},
        {"pod": "uici-7d4b9c6f5-x2x8z"},
        {"namespace": "ops", "pod": "uici-x"},
        {"job": "uici"},
        {"deployment": "web", "container": "uici"},
        {"team": "healing"},
        {"pod": "uici"},
    ],
)
def test_an_alert_about_uici_itself_is_told_and_only_by_this_layer(labels: dict[str, str]) -> None:
    where = _site(
        {
            **WEB,
            "me": {"aliases": ["healer", "nick"], "bindings": {"local": {"program": "x"}}},
            "bound": {"bindings": {"local": {"program": "uici"}}},
            "everything": {"bindings": {"local": {"project": "stack"}}},
            "own": {"match": ['team="healing"'], "bindings": {"local": {"program": "y"}}},
        }
    )
    only = SelfGuardLayers(intake=True, planning=False, translation=False, executor=False)
    found = resolve(alert(**labels), where, SELF, only)
    assert found.is_self
    assert "UICI itself" in found.reason
    assert not resolve(alert(**labels), where, SELF, SelfGuardLayers(intake=False)).is_self


@pytest.mark.parametrize(
    "labels", [{"job": "uici", "deployment": "web"}, {"namespace": "uici", "deployment": "web"}, {"deployment": "web"}]
)
def test_what_uici_reports_and_its_siblings_are_not_uici(labels: dict[str, str]) -> None:
    found = resolve(alert(**labels), _site(WEB), SELF)
    assert found.target == "web"
    assert not found.is_self


def test_an_identity_without_pod_is_not_found_in_a_pods_labels() -> None:
    nameless = SelfIdentity(names=frozenset({"uici"}))
    assert not resolve(alert(deployment="web", namespace="", pod=""), _site(WEB), nameless).is_self
    assert not resolve(alert(deployment="web"), _site(WEB), nameless).is_self


def test_one_index_tells_targets_environments_and_identities_apart() -> None:
    where = _site(
        {**WEB, "both": {"bindings": {"local": {"program": "uici"}, "far": {"container": "x"}}}},
        environments={"local": {"platform": "local"}, "far": {"platform": "docker"}},
    )
    index = TargetIndex(where)
    for _ in range(2):  # the second time from what it remembers
        for target, environment, identity, told in (
            ("both", "local", SELF, True),
            ("both", "far", SELF, False),
            ("both", "local", NOBODY, False),
            ("web", "local", SELF, False),
        ):
            labels = {"uici_target": target, "uici_environment": environment}
            assert index.resolve(alert(**labels), identity).is_self is told, (target, environment)


def test_an_index_lives_as_long_as_its_site() -> None:
    where = _site(WEB)
    resolve(alert(deployment="web"), where, NOBODY)
    key, gone = id(where), weakref.ref(where)
    assert key in targeting._indices
    del where
    gc.collect()
    assert gone() is None
    assert key not in targeting._indices
