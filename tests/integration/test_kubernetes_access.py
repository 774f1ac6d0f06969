"""The rules that `uici rbac` prints, on a real API server: enough for every call, and none too many."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from executors.deadline import Deadline
from executors.kubernetes import KubernetesExecutor
from executors.kubernetes.access import Right, grants, rights_of
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.needs import NEEDS
from executors.kubernetes.settings import KubernetesSettings
from tests.integration.kubernetes_ground import binding, make_call, oldest_node, workload
from tests.real.kubernetes import RealCluster
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import Call, CallError
from uici.model.grants import Account
from uici.model.identity import SelfIdentity
from uici.ports import ExecutorContext

_EITHER = {("pods/exec", "get"), ("pods/exec", "create")}
"""Which of them a server asks for depends on its version."""


_LEFT_OUT = {(name, "get") for name in ("replicasets", "horizontalpodautoscalers", "persistentvolumeclaims")}
"""What may not be read of these is passed over where an alert is looked up: a pod is found then, not what owns it."""
_NAMING = {
    "deployments": "deployment", "statefulsets": "statefulset", "daemonsets": "daemonset", "jobs": "job_name",
    "cronjobs": "cronjob", "pods": "pod", "nodes": "node",
}  # fmt: skip
"""Resource -> the label by which alerts name such an object."""


class Restricted:
    """An executor as a service account, whose rights are given and taken while it works."""

    def __init__(self, cluster: RealCluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.account = Account(environment=namespace, name="uici", namespace=namespace)
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "uici", "namespace": namespace}}
        cluster.apply(account)
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/uici/token"
        token = json.loads(cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(request)))
        self.token = token["status"]["token"]
        settings = cluster.server() | {"token": self.token, "namespace": namespace}
        settings |= {"requests_per_second": 200, "burst": 200}
        context = ExecutorContext(environment="test", settings=settings, identity=SelfIdentity())
        self.executor = KubernetesExecutor(context)
        self.given: set[Right] = set()
        self.admin = Cluster(KubernetesSettings.model_validate(cluster.connection), "test")

    def give(self, calls: list[Call]) -> set[Right]:
        """What `uici rbac` prints for these calls; the rights that it holds."""
        wanted = [(call.name, call.arguments) for call in calls]
        documents = [dict(one) for one in grants(wanted, self.account).documents]
        for document in documents:
            if document["kind"].startswith("ClusterRole"):
                document["metadata"] = {**document["metadata"], "labels": {"uici-test": self.namespace}}
        self.cluster.apply(*documents)
        self.given = set(rights_of(wanted, self.namespace).rights)
        for right in self.given:
            self._until_allowed(right, True)
        return self.given

    def without(self, right: Right) -> None:
        """All that was given but one; nothing else is changed."""
        self._set(self.given - {right}, right.namespace)
        self._until_allowed(right, False)

    def again(self, right: Right) -> None:
        self._set(self.given, right.namespace)
        self._until_allowed(right, True)

    def _set(self, rights: set[Right], namespace: str | None) -> None:
        rules = [
            {"apiGroups": [one.group], "resources": [one.resource], "verbs": [one.verb]}
            for one in rights
            if one.namespace == namespace
        ]
        role = self.admin.resource("Role" if namespace else "ClusterRole", "rbac.authorization.k8s.io")
        self.admin.patch(role, namespace, f"uici-{self.namespace}", {"rules": rules}, Deadline(15))

    def _until_allowed(self, right: Right, wanted: bool) -> None:
        plural, _, subresource = right.resource.partition("/")
        attributes = {
            "namespace": right.namespace or "", "group": right.group, "resource": plural,
            "subresource": subresource, "verb": right.verb,
        }  # fmt: skip
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": f"system:serviceaccount:{self.namespace}:uici",
                "groups": ["system:authenticated", "system:serviceaccounts"],
                "resourceAttributes": attributes,
            },
        }

        resource = self.admin.resource("SubjectAccessReview", "authorization.k8s.io")

        def allowed() -> bool:
            said = self.admin.create(resource, None, review, Deadline(15))
            return bool(said["status"].get("allowed")) is wanted

        until(allowed, f"{right} is {'allowed' if wanted else 'not allowed'}")


@pytest.fixture
def restricted(real_cluster: RealCluster, namespace: str) -> Iterator[Restricted]:
    made = Restricted(real_cluster, namespace)
    yield made
    made.executor.close()
    made.admin.close()


def calls_on(kind: str, namespace: str, name: str = "web") -> list[Call]:
    """Each call that a target of this kind can have, in an order in which each of them works."""
    target = binding(kind, namespace, name, diagnostics={"said": ["/bin/sh", "-c", "exit 0"]})
    if kind == "Node":
        del target["namespace"]
    more: dict[str, JsonObject] = {
        "workload.configure": {"environment": {"COLOUR": "red"}},
        "workload.update": {"memory_bytes": 64 * 2**20},
        "workload.deploy": {"version": "late"},
        "workload.scale": {"replicas": 2},
        "workload.diagnose": {"diagnostic": "said"},
        "workload.replace": {},
        "workload.exec": {"argv": ["/bin/sh", "-c", "exit 0"], "expect_exit": [0]},
    }
    no_pods = ("workload.diagnose", "workload.exec", "workload.usage", "workload.logs", "workload.snapshot")
    not_here = {"CronJob": no_pods, "Node": (*no_pods, "workload.list")}
    calls = []
    for call in NEEDS:
        if call == "kubernetes.request" or "backend" in call or call in not_here.get(kind, ()):
            continue  # requests have a test of their own; a load balancer is none of the cluster's
        with suppress(CallError):  # it means nothing for this kind
            calls.append(make_call(call, target=target, **more.get(call, {})))
    return sorted(calls, key=lambda one: (one.mutates, one.name == "workload.rollback"))


def request(**arguments: object) -> Call:
    call = make_call("kubernetes.request", verb=arguments["verb"], kind=arguments["kind"])
    return call.model_copy(update={"arguments": arguments})


def requests_on(namespace: str) -> list[Call]:
    of = {"kind": "ConfigMap", "namespace": namespace}
    body = {"metadata": {"name": "one"}, "data": {"a": "1"}}
    return [
        request(verb=verb, **of, **arguments)
        for verb, arguments in (
            ("create", {"body": body}),
            ("get", {"name": "one"}),
            ("list", {}),
            ("update", {"name": "one", "body": body}),
            ("patch", {"name": "one", "body": {"data": {"a": "2"}}}),
            ("apply", {"name": "one", "body": {"data": {"a": "3"}}, "force": True}),
            ("delete", {"name": "one"}),
            ("deletecollection", {"labels": "no=such"}),
        )
    ]


def test_every_call_says_what_it_needs() -> None:
    assert set(NEEDS) == set(KubernetesExecutor.call_specs)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "CronJob", "Node", "requests"])
def test_the_rules_are_enough_and_none_is_too_many(
    restricted: Restricted, real_cluster: RealCluster, namespace: str, kind: str
) -> None:
    name = oldest_node(real_cluster) if kind == "Node" else "web"
    calls = requests_on(namespace) if kind == "requests" else calls_on(kind, namespace, name)
    rolled = kind in ("Deployment", "StatefulSet", "DaemonSet")
    if rolled:
        # Without a probe: rights are what is tried, and a version that stays well is not among the images.
        real_cluster.apply(workload(kind, namespace, "web", readinessProbe=None))
        real_cluster.kubectl("-n", namespace, "rollout", "status", f"{kind}/web", "--timeout=60s")
    elif kind == "CronJob":
        served = restricted.admin.resource("CronJob").api_version
        pods = {"restartPolicy": "Never", "containers": [{"name": "web", "image": "none:1"}]}
        job = {"spec": {"template": {"spec": pods}}}
        spec = {"schedule": "0 0 1 1 *", "jobTemplate": job}
        named = {"name": "web", "namespace": namespace}
        real_cluster.apply({"apiVersion": served, "kind": kind, "metadata": named, "spec": spec})
    rights = restricted.give(calls)
    for call in calls:
        if kind == "Node" and call.mutates:
            found = restricted.executor.rehearse(call)  # the node is everybody's
            assert found is not None
            assert found.code != "forbidden", found
            continue
        if call.name != "workload.usage":
            restricted.executor.perform(call)
            continue
        # There is no metrics API here, and the kubelets are asked by a right that nobody gets.
        with pytest.raises(CallError, match="metrics"):
            restricted.executor.perform(call)
    if rolled:
        # Of a workload that is not well the events are looked at, too.
        real_cluster.apply(workload(kind, namespace, "broken", image="absent:1"))
        calls.append(make_call("workload.status", target=binding(kind, namespace, "broken")))
    if kind == "requests":
        real_cluster.kubectl("-n", namespace, "create", "configmap", "one")
    unneeded = []
    for right in sorted(rights, key=str):
        if (right.resource, right.verb) == ("pods", "delete") or right.group == "metrics.k8s.io":
            continue  # for what a StatefulSet leaves behind, see below; for what no server serves here
        restricted.without(right)
        using = [call for call in calls if right in rights_of([(call.name, call.arguments)], namespace).rights]
        # One that fails suffices; looks come first, since a change that does not fail takes a rollout.
        using.sort(key=lambda call: call.mutates)
        tries = [partial(unfound, restricted), *(partial(failure, restricted.executor, call) for call in using)]
        told: list[str] = []
        for attempt in tries:
            told.append(attempt(right))
            if f"may not {right.verb} {right.resource}" in told[-1]:
                break
        else:
            unneeded.append((right.resource, right.verb, told))
        restricted.again(right)
    assert {each[:2] for each in unneeded} <= _EITHER | _LEFT_OUT, unneeded
    assert not {each[:2] for each in unneeded} >= _EITHER


def unfound(restricted: Restricted, right: Right) -> str:
    """Why an alert that names an object of this resource leads nowhere."""
    label = _NAMING.get(right.resource)
    if label is None or right.verb != "get":
        return ""
    try:
        restricted.executor.find({"namespace": restricted.namespace, label: "web"})
    except CallError as error:
        return error.message
    return ""


def failure(executor: KubernetesExecutor, call: Call, right: Right) -> str:
    """Why the call cannot be carried out; what would change something is only rehearsed, where that goes far enough."""
    try:
        if right.verb == "watch":
            if call.name != "workload.configure":
                return ""  # one that really rolls out suffices
            again = {**call.arguments, "environment": {"COLOUR": secrets.token_hex(4)}}
            return str(executor.perform(make_call("workload.configure", **again)))
        if call.mutates and call.name != "workload.exec":
            found = executor.rehearse(call)
            return found.reason if found is not None else ""
        return str(executor.perform(call))  # what could not be seen is part of some results
    except CallError as error:
        return error.message


def test_a_stateful_sets_broken_pod_is_not_removed_without_the_right(
    restricted: Restricted, real_cluster: RealCluster, namespace: str
) -> None:
    target = binding("StatefulSet", namespace, "web")
    real_cluster.apply(workload("StatefulSet", namespace, "web"))
    real_cluster.kubectl("-n", namespace, "rollout", "status", "statefulset/web", "--timeout=60s")
    broken = make_call("workload.deploy", target=target, version="absent", stuck_seconds=1)
    back = make_call("workload.rollback", target=target)
    rights = restricted.give([broken, back])
    (delete,) = (right for right in rights if right.verb == "delete")
    with pytest.raises(CallError, match="ErrImageNeverPull"):
        restricted.executor.perform(broken)
    restricted.without(delete)
    with pytest.raises(CallError, match="may not delete pods"):
        restricted.executor.perform(back)
    restricted.again(delete)
    restricted.executor.perform(make_call("workload.deploy", target=target, version="good"))


def test_where_nothing_may_be_changed_only_looking_is_allowed(namespace: str) -> None:
    looks: list[Any] = [
        (name, {"target": binding("Deployment", namespace, "web")})
        for name, spec in KubernetesExecutor.call_specs.items()
        if not spec.mutates
    ]
    rights = rights_of(looks, namespace).rights
    assert {right.verb for right in rights} == {"get", "list"}
    assert not any(right.resource == "pods/exec" for right in rights)
