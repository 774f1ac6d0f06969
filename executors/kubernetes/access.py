"""What RBAC has to allow for each call, and the documents that allow exactly that; importable without the SDK.

`tests/integration/test_kubernetes_access.py` runs every call with exactly these rights, and with each single one less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from executors.kubernetes import open_calls
from executors.kubernetes.calls import classify
from executors.kubernetes.needs import FINDING, NEEDS
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError
from uici.model.grants import Account, Grants

_RBAC = "rbac.authorization.k8s.io"
_PLURALS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Deployment": ("apps", "deployments"),
        "StatefulSet": ("apps", "statefulsets"),
        "DaemonSet": ("apps", "daemonsets"),
        "ReplicaSet": ("apps", "replicasets"),
        "ControllerRevision": ("apps", "controllerrevisions"),
        "Job": ("batch", "jobs"),
        "CronJob": ("batch", "cronjobs"),
        "Pod": ("", "pods"),
        "Node": ("", "nodes"),
        "Namespace": ("", "namespaces"),
        "Event": ("", "events"),
        "Secret": ("", "secrets"),
        "ConfigMap": ("", "configmaps"),
        "Service": ("", "services"),
        "ServiceAccount": ("", "serviceaccounts"),
        "ResourceQuota": ("", "resourcequotas"),
        "PersistentVolume": ("", "persistentvolumes"),
        "PersistentVolumeClaim": ("", "persistentvolumeclaims"),
        "HorizontalPodAutoscaler": ("autoscaling", "horizontalpodautoscalers"),
        "PodDisruptionBudget": ("policy", "poddisruptionbudgets"),
        "PodMetrics": ("metrics.k8s.io", "pods"),
        "Ingress": ("networking.k8s.io", "ingresses"),
        "NetworkPolicy": ("networking.k8s.io", "networkpolicies"),
        "StorageClass": ("storage.k8s.io", "storageclasses"),
        "CustomResourceDefinition": ("apiextensions.k8s.io", "customresourcedefinitions"),
    }
)
"""Of the kinds that a request may name without `resource` and `group`: this has to be known without a cluster."""
_CLUSTER_WIDE = frozenset({"nodes", "namespaces", "persistentvolumes", "storageclasses", "customresourcedefinitions"})


class Right(NamedTuple):
    """One verb on one resource, in one namespace or (None) in the whole cluster."""

    namespace: str | None
    group: str
    resource: str
    verb: str


@dataclass
class _Wanted:
    """All rights, and what could not be told."""

    rights: set[Right] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def grants(calls: Iterable[tuple[str, JsonObject]], account: Account) -> Grants:
    """ServiceAccount, roles and bindings with which exactly these calls can be carried out."""
    wanted = rights_of(calls, account.namespace)
    return Grants(documents=tuple(_documents(wanted.rights, account)), notes=tuple(dict.fromkeys(wanted.notes)))


def rights_of(calls: Iterable[tuple[str, JsonObject]], namespace: str) -> _Wanted:
    """The rights that these calls need; `namespace` is that of bindings and requests that name none."""
    wanted = _Wanted()
    for name, arguments in calls:
        try:
            classify(name, arguments)
        except CallError:
            continue  # refused while the plan is made: it is never sent
        if name == open_calls.REQUEST:
            _of_request(arguments, namespace, wanted)
        else:
            _of_named(name, arguments, namespace, wanted)
    # What is allowed everywhere need not be allowed in one place again.
    everywhere = {one[1:] for one in wanted.rights if one.namespace is None}
    wanted.rights = {one for one in wanted.rights if one.namespace is None or one[1:] not in everywhere}
    return wanted


def _of_named(name: str, arguments: JsonObject, namespace: str, wanted: _Wanted) -> None:
    binding = arguments.get("target") or {}
    kind = str(binding.get("kind") or "Deployment")
    place = str(binding.get("namespace") or namespace)
    for need in (*FINDING, *NEEDS[name]):
        if (need.of and kind not in need.of) or (need.having and not binding.get(need.having)):
            continue
        group, resource = _PLURALS[need.kind or kind]
        everywhere = need.everywhere or resource in _CLUSTER_WIDE
        whole = f"{resource}/{need.subresource}" if need.subresource else resource
        wanted.rights |= {Right(None if everywhere else place, group, whole, verb) for verb in need.verbs}


def _of_request(arguments: JsonObject, namespace: str, wanted: _Wanted) -> None:
    known = {name: value for name, value in arguments.items() if isinstance(value, str)}
    verb, subresource = known.get("verb", ""), known.get("subresource")
    group, resource = known.get("group"), known.get("resource")
    if group is None and "api_version" in known:
        group = known["api_version"].rpartition("/")[0]
    if known.get("kind") in _PLURALS:
        group, resource = (_PLURALS[known["kind"]][0] if group is None else group), _PLURALS[known["kind"]][1]
    unknown = [part for part in (verb, group, resource, subresource) if part is None or "${" in part]
    if not verb or (unknown and unknown != [None]) or group is None or resource is None:
        shown = ", ".join(f"{name} {value}" for name, value in known.items() if name in _NAMING)
        wanted.notes.append(
            f"a {open_calls.REQUEST} ({shown}) does not say beforehand which resource it is about: allow it by hand, "
            "or write `resource` and `group` in its operation"
        )
        return
    everywhere = arguments.get("all_namespaces") is True or resource in _CLUSTER_WIDE
    given = known.get("namespace") or namespace
    if "${" in given:
        wanted.notes.append(f"a {open_calls.REQUEST} of {resource} takes its namespace from {given}: allowed in all")
        everywhere = True
    whole = f"{resource}/{subresource}" if subresource else resource
    place = None if everywhere else given
    verbs = _VERBS.get(verb, (verb,))
    wanted.rights |= {Right(place, group, whole, one) for one in verbs}


_NAMING = ("verb", "kind", "resource", "group", "api_version", "subresource")
_VERBS = {"apply": ("get", "patch", "create"), "update": ("get", "update"), "patch": ("get", "patch"),
          "delete": ("get", "delete"), "deletecollection": ("list", "deletecollection")}  # fmt: skip
"""A change is rehearsed beside a look at what is there now, so each of them also reads."""


def _documents(rights: set[Right], account: Account) -> Iterator[JsonObject]:
    subject = {"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}
    name = f"{account.name}-{account.environment}".lower().replace("_", "-")
    labels = {"app.kubernetes.io/managed-by": "uici"}
    metadata: JsonObject = {"name": account.name, "namespace": account.namespace, "labels": labels}
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    for namespace in sorted({right.namespace for right in rights}, key=lambda one: one or ""):
        kind = "ClusterRole" if namespace is None else "Role"
        named: JsonObject = {"name": name, "labels": labels}
        if namespace is not None:
            named["namespace"] = namespace
        rules = _rules(right for right in rights if right.namespace == namespace)
        yield {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": named, "rules": rules}
        yield {
            "apiVersion": f"{_RBAC}/v1",
            "kind": f"{kind}Binding",
            "metadata": named,
            "subjects": [subject],
            "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": name},
        }


def _rules(rights: Iterable[Right]) -> list[JsonValue]:
    """As few rules as there are sets of verbs in a group."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for right in rights:
        verbs.setdefault((right.group, right.resource), set()).add(right.verb)
    together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), said in verbs.items():
        together.setdefault((group, tuple(sorted(said))), []).append(resource)
    return [
        {"apiGroups": [group], "resources": sorted(resources), "verbs": list(said)}
        for (group, said), resources in sorted(together.items())
    ]
