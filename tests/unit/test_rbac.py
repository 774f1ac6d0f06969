"""Which rules `uici rbac` prints for which configuration. That they suffice is tried on a real API server."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from executors.kubernetes import KubernetesExecutor
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.cli.app import app
from uici.model.base import JsonObject
from uici.model.call import Risk
from uici.model.grants import Account, Grants
from uici.model.operation import CallTemplate, Operation, Translation
from uici.model.site import Autonomy, Environment, Site, TargetSpec
from uici.translation.needing import calls_needed

TARGETS = {
    "web": TargetSpec(bindings={"cluster": {"kind": "Deployment", "name": "web", "namespace": "shop"}}),
    "store": TargetSpec(bindings={"cluster": {"kind": "StatefulSet", "name": "store"}}),
    "here": TargetSpec(bindings={"local": {"program": "here", "command": ["/bin/true"]}}),
}
Rules = dict[tuple[str, str], set[tuple[str, str, str]]]


@cache
def shipped() -> Site:
    return load_site(None, executors=discover_executors())


def site(autonomy: Autonomy = Autonomy.AUTO, targets: dict[str, TargetSpec] | None = None, **verbs: JsonObject) -> Site:
    """The shipped verbs, those with one request each, and the targets on a cluster."""
    found = shipped()
    made = {
        name: Operation(
            name=name,
            source="test",
            summary="made for a test",
            risk=Risk.HIGH,
            mutates=True,
            reversible=False,
            irreversible_because="it is made for a test",
            translations={
                "kubernetes": Translation(calls=(CallTemplate(call="kubernetes.request", arguments=arguments),))
            },
        )
        for name, arguments in verbs.items()
    }
    return found.model_copy(
        update={
            "environments": {"cluster": Environment(platform="kubernetes")},
            "targets": targets or TARGETS,
            "operations": {**found.operations, **made},
            "policies": found.policies.model_copy(update={"autonomy": autonomy}),
        }
    )


def granted(given: Site) -> Grants:
    account = Account(environment="cluster", name="healer", namespace="ops")
    return KubernetesExecutor.grants(calls_needed(given, "cluster"), account)


def rules(given: Site) -> Rules:
    """(kind, namespace) of each role -> its rules as (group, resource, verb)."""
    roles: list[Any] = [one for one in granted(given).documents if one["kind"] in ("Role", "ClusterRole")]
    return {
        (role["kind"], role["metadata"].get("namespace", "")): {
            (group, resource, verb)
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        for role in roles
    }


def test_each_namespace_has_a_role_with_what_its_targets_need() -> None:
    found = rules(site())
    shop, store = found["Role", "shop"], found["Role", "ops"]
    assert ("apps", "deployments", "patch") in shop
    assert not any(resource == "statefulsets" and verb not in ("get", "list") for _, resource, verb in shop)
    assert ("apps", "statefulsets", "patch") in store
    assert ("", "pods", "delete") in store
    everything = set().union(*found.values())
    assert not any(resource in ("pods/exec", "nodes/proxy") or verb == "*" for _, resource, verb in everything)


def test_the_account_is_bound_to_its_roles() -> None:
    account, *rest = granted(site()).documents
    assert (account["kind"], account["metadata"]["name"], account["metadata"]["namespace"]) == (
        "ServiceAccount", "healer", "ops"
    )  # fmt: skip
    bindings = [one for one in rest if one["kind"] == "RoleBinding"]
    assert {one["metadata"]["namespace"] for one in bindings} >= {"shop", "ops"}
    for one in bindings:
        assert one["subjects"] == [{"kind": "ServiceAccount", "name": "healer", "namespace": "ops"}]
        assert one["roleRef"]["name"] == one["metadata"]["name"] == "healer-cluster"


@pytest.mark.parametrize("how", ["site", "target", "watch_only"])
def test_what_is_only_watched_may_only_be_looked_at(how: str) -> None:
    changes: JsonObject = {"autonomy": Autonomy.OBSERVE} if how == "target" else {"watch_only": True}
    targets = {name: target.model_copy(update=changes) for name, target in TARGETS.items()}
    found = rules(site(Autonomy.OBSERVE) if how == "site" else site(targets=targets))
    assert {verb for role in found.values() for _, _, verb in role} == {"get", "list"}


def test_a_verb_adds_what_it_reaches() -> None:
    sync = {
        "verb": "patch",
        "resource": "syncs",
        "group": "argoproj.io",
        "namespace": "argocd",
        "name": "${target.name}",
    }
    before, after = rules(site()), rules(site(sync=sync))
    assert after.pop(("Role", "argocd")) == {("argoproj.io", "syncs", "get"), ("argoproj.io", "syncs", "patch")}
    assert after == before
    volume = rules(site(volume={"verb": "delete", "kind": "PersistentVolume", "name": "old"}))
    assert volume["ClusterRole", ""] - before.get(("ClusterRole", ""), set()) == {
        ("", "persistentvolumes", "get"), ("", "persistentvolumes", "delete")
    }  # fmt: skip
    apart = rules(site(own={"verb": "get", "kind": "ConfigMap", "namespace": "${target.namespace}", "name": "x"}))
    assert ("", "configmaps", "get") in apart["Role", "shop"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"verb": "delete", "kind": "Certificate", "name": "old"},
        {"verb": "delete", "kind": "${parameters.kind}", "name": "old"},
        {"verb": "${parameters.verb}", "kind": "Pod", "name": "old"},
    ],
)
def test_what_cannot_be_known_beforehand_is_a_note(arguments: JsonObject) -> None:
    found = granted(site(made=arguments))
    assert any("does not say beforehand which resource it is about" in note for note in found.notes)
    assert found.documents == granted(site()).documents


def test_a_place_without_rules_of_its_own_says_so(tmp_path: Path) -> None:
    local, unknown = (
        CliRunner().invoke(app, ["rbac", "--config", str(tmp_path), "--environment", name])
        for name in ("local", "locl")
    )
    assert local.exit_code == unknown.exit_code == 2
    assert "has no rules of its own" in local.stderr
    assert "did you mean 'local'" in unknown.stderr
