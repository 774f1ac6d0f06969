"""The Kubernetes executor refuses what would hit UICI itself, wherever it asks (an API server's double)."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from executors.kubernetes import KubernetesExecutor
from tests.doubles.api_server import ApiServer, thing
from tests.integration.kubernetes_ground import make_call
from uici.model.call import CallError
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.ports import ExecutorContext

# Before each mutant gets a process of its own: it takes longer than all tests.
importlib.import_module("kubernetes")

CONTAINERS = [{"name": "main", "image": "web:1"}]
TEMPLATE = {"metadata": {"labels": {}}, "spec": {"containers": CONTAINERS}}
STATE = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
RUNNING = {
    "phase": "Running",
    "containerStatuses": [{"name": "main", "state": STATE, "ready": True, "restartCount": 0, "image": "web:1"}],
}
BACKEND = {"haproxy": "127.0.0.1:9", "backend": "web", "server": "a"}


def deployed(name: str) -> dict[str, Any]:
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": TEMPLATE}
    return thing("Deployment", name, spec=spec)


def pod(name: str, owner: dict[str, Any] | None, app: str, node: str = "node-1", **spec: Any) -> dict[str, Any]:
    made = thing("Pod", name, owner=owner, spec={"nodeName": node, "containers": CONTAINERS, **spec}, status=RUNNING)
    made["metadata"]["labels"] = {"app": app}
    return made


HEALER, OTHER = deployed("healer"), deployed("other")
HEALER_SET = thing("ReplicaSet", "healer-1", owner=HEALER, spec={"template": TEMPLATE})
OTHER_SET = thing("ReplicaSet", "other-1", owner=OTHER, spec={"template": TEMPLATE})
HEALER_SET["metadata"]["labels"], OTHER_SET["metadata"]["labels"] = {"app": "healer"}, {"app": "other"}
CRON = thing("CronJob", "nightly", spec={"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": TEMPLATE}}})
JOB = thing("Job", "nightly-1", owner=CRON, spec={"template": TEMPLATE})
USED: dict[str, Any] = {
    "serviceAccountName": "uici",
    "volumes": [
        {"persistentVolumeClaim": {"claimName": "state"}},
        {"secret": {"secretName": "keys"}},
        {"configMap": {"name": "site"}},
    ],
    "initContainers": [{"name": "first", "image": "web:1", "envFrom": [{"secretRef": {"name": "begin"}}]}],
    "containers": [
        {
            **CONTAINERS[0],
            "envFrom": [{"configMapRef": {"name": "variables"}}],
            "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "one-key"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "one-value"}}},
                {"name": "C", "value": "c"},
            ],
        }
    ],
}
THINGS = (
    HEALER, OTHER, HEALER_SET, OTHER_SET, CRON, JOB,
    pod("healer-1-a", HEALER_SET, "healer", **USED), pod("other-1-a", OTHER_SET, "other", "node-2"),
    pod("nightly-1-a", JOB, "nightly"), pod("alone", None, "alone"),
    pod("orphan", thing("ReplicaSet", "gone"), "orphan"),
    thing("Node", "node-1", spec={}), thing("Node", "node-2", spec={}),
)  # fmt: skip
SELF = SelfIdentity(pods=frozenset({"shop/healer-1-a"}))
ALL = SelfGuardLayers()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("api"), *THINGS) as server:
        yield server


class Hand:
    """An executor in front of the double, whose requests are counted from now on."""

    def __init__(self, server: ApiServer, identity: SelfIdentity, layers: SelfGuardLayers = ALL) -> None:
        self.server = server
        settings = {"kubeconfig": str(server.kubeconfig), "namespace": "shop"}
        self.executor = KubernetesExecutor(
            ExecutorContext(environment="test", settings=settings, identity=identity, layers=layers)
        )
        server.seen.clear()

    def code(self, call: str, /, **arguments: object) -> str:
        """Of the failure; every change fails at the double."""
        with pytest.raises(CallError) as caught:
            self.executor.perform(make_call(call, **arguments))
        self.executor.close()
        return caught.value.code


def bound(kind: str, name: str, **more: object) -> dict[str, Any]:
    return {"kind": kind, "name": name, **({} if kind == "Node" else {"namespace": "shop"}), **more}


WORKLOADS: dict[str, dict[str, Any]] = {
    "workload.restart": {},
    "workload.deploy": {"version": "2"},
    "workload.set_backend": {"state": "drain"},
    "workload.diagnose": {"diagnostic": "disk"},
    "workload.exec": {"argv": ["true"]},
}
SCHEDULES = ("schedule.suspend", "job.rerun")
NODES = ("node.cordon", "node.drain")


def calls(workload: str, schedule: str, node: str) -> list[Any]:
    """Every call that changes something, on one of these."""
    said: dict[str, Any] = {"backend": BACKEND, "diagnostics": {"disk": ["df"]}}
    found = [(name, bound("Deployment", workload, **said), more) for name, more in WORKLOADS.items()]
    found.append(("workload.replace", bound("Deployment", workload), {"instance": f"{workload}-1-a"}))
    found += [(name, bound("CronJob", schedule), {}) for name in SCHEDULES]
    found += [(name, bound("Node", node), {}) for name in NODES]
    return [pytest.param(*one, id=one[0]) for one in found]


@pytest.mark.parametrize(("name", "target", "more"), calls("healer", "nightly", "node-1"))
def test_a_binding_that_names_uici_is_refused_before_anybody_is_asked(
    served: ApiServer, name: str, target: dict[str, Any], more: dict[str, Any]
) -> None:
    hand = Hand(served, SelfIdentity(names=frozenset({target["name"]})))
    assert (hand.code(name, target=target, **more), served.seen) == ("self_target", [])


@pytest.mark.parametrize(("name", "target", "more"), calls("healer", "nightly", "node-1"))
def test_what_uici_runs_in_is_refused_whatever_it_is_called(
    served: ApiServer, name: str, target: dict[str, Any], more: dict[str, Any]
) -> None:
    # One that has gone says nothing, and hides nothing.
    pods = {"shop/a-pod-that-went", "shop/healer-1-a", "shop/nightly-1-a"}
    hand = Hand(served, SelfIdentity(pods=frozenset(pods)))
    assert (hand.code(name, target=target, **more), served.changes) == ("self_target", [])
    assert served.seen


@pytest.mark.parametrize("name", ["workload.restart", "workload.deploy", *NODES])
@pytest.mark.parametrize("own", ["healer-1-a", "alone", "orphan"])
def test_what_stands_beside_uici_is_not_refused(served: ApiServer, name: str, own: str) -> None:
    target = bound("Node", "node-2") if name in NODES else bound("Deployment", "other")
    hand = Hand(served, SelfIdentity(pods=frozenset({f"shop/{own}"}), containing=frozenset({"other", "node-3"})))
    assert hand.code(name, target=target, **WORKLOADS.get(name, {})) != "self_target"
    assert served.changes


def test_a_node_that_is_said_to_contain_uici_is_refused(served: ApiServer) -> None:
    hand = Hand(served, SelfIdentity(containing=frozenset({"node-2"})))
    assert hand.code("node.cordon", target=bound("Node", "node-2")) == "self_target"


def test_a_pod_that_is_named_as_uici_is_refused(served: ApiServer) -> None:
    hand = Hand(served, SelfIdentity(names=frozenset({"other-1-a"})))
    target = bound("Deployment", "other")
    assert hand.code("workload.replace", target=target, instance="other-1-a") == "self_target"


def test_where_the_health_of_a_thing_is_asked_says_nothing_of_what_it_is(served: ApiServer) -> None:
    health = {"http": "http://127.0.0.1:9/health"}
    hand = Hand(served, SelfIdentity(names=frozenset(health.values())))
    assert hand.code("workload.restart", target=bound("Deployment", "other", health=health)) != "self_target"


@pytest.mark.parametrize("identity", [SELF, SelfIdentity(names=frozenset({"healer"}))])
def test_the_layer_can_be_switched_off_to_try_the_others(served: ApiServer, identity: SelfIdentity) -> None:
    off = SelfGuardLayers(executor=False)
    target = bound("Deployment", "healer")
    assert Hand(served, identity, off).code("workload.restart", target=target) != "self_target"
    request = {"verb": "delete", "kind": "Deployment", "name": "healer"}
    assert Hand(served, identity, off).code("kubernetes.request", **request) != "self_target"
    assert served.changes


def test_a_rollout_of_uici_that_is_proved_is_not_gone_on_with(served: ApiServer) -> None:
    hand = Hand(served, SELF)
    call = make_call("workload.deploy", target=bound("Deployment", "healer"), version="1")
    call = call.model_copy(update={"timeout_seconds": 5.0})  # for what would wait for it instead
    before = hand.executor.before(call)
    with pytest.raises(CallError) as caught:
        hand.executor.happened(call, {**before, "wanted": before["template"]})
    assert caught.value.code == "self_target"


REACHED = [
    ("Pod", "healer-1-a"), ("ReplicaSet", "healer-1"), ("Deployment", "healer"), ("Namespace", "shop"),
    ("Node", "node-1"), ("ServiceAccount", "uici"), ("PersistentVolumeClaim", "state"), ("Secret", "keys"),
    ("ConfigMap", "site"), ("Secret", "begin"), ("ConfigMap", "variables"), ("Secret", "one-key"),
    ("ConfigMap", "one-value"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), REACHED)
def test_a_request_for_what_uici_is_or_needs_is_refused(served: ApiServer, kind: str, name: str) -> None:
    hand = Hand(served, SELF)
    assert (hand.code("kubernetes.request", verb="delete", kind=kind, name=name), served.changes) == (
        "self_target",
        [],
    )


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in REACHED}))
def test_a_request_for_another_of_the_same_kind_is_not_refused(served: ApiServer, kind: str) -> None:
    hand = Hand(served, SELF)
    assert hand.code("kubernetes.request", verb="delete", kind=kind, name="other") != "self_target"
    assert len(served.changes) == 1


def test_without_an_account_of_its_own_it_has_that_of_the_namespace(served: ApiServer) -> None:
    hand = Hand(served, SelfIdentity(pods=frozenset({"shop/alone"})))
    assert hand.code("kubernetes.request", verb="delete", kind="ServiceAccount", name="default") == "self_target"


@pytest.mark.parametrize("own", ["alone", "orphan", "a-pod-that-went"])
def test_a_pod_without_owners_or_one_that_has_gone_hides_nothing(served: ApiServer, own: str) -> None:
    identity = SelfIdentity(pods=frozenset({f"shop/{own}", "shop/healer-1-a"}))
    assert Hand(served, identity).code("kubernetes.request", verb="delete", kind="Pod", name=own) == "self_target"
    request = {"verb": "delete", "kind": "Deployment"}
    assert Hand(served, identity).code("kubernetes.request", name="healer", **request) == "self_target"
    assert Hand(served, identity).code("kubernetes.request", name="other", **request) != "self_target"


@pytest.mark.parametrize(
    ("kind", "labels", "refused"),
    [
        ("Pod", "app=healer", True),
        ("Pod", "app=other", False),
        ("Pod", {"app": "healer"}, True),
        ("Node", "app=node-1", True),
        ("Node", "app=node-2", False),
    ],
)
def test_a_collection_is_refused_when_uici_is_in_it(
    served: ApiServer, kind: str, labels: object, refused: bool
) -> None:
    hand = Hand(served, SELF)
    code = hand.code("kubernetes.request", verb="deletecollection", kind=kind, labels=labels)
    assert (code == "self_target", bool(served.changes)) == (refused, not refused)


def test_a_request_is_refused_by_what_it_creates_and_by_any_text_in_it(served: ApiServer) -> None:
    body = {"metadata": {"name": "healer-1-a"}, "spec": {}}
    assert Hand(served, SELF).code("kubernetes.request", verb="create", kind="Pod", body=body) == "self_target"
    nameless = Hand(served, SELF)
    assert nameless.code("kubernetes.request", verb="create", kind="Pod", body={"spec": {}}) != "self_target"
    assert len(served.changes) == 1
    named = SelfIdentity(names=frozenset({"healer"}))
    patch: dict[str, Any] = {"spec": {"containers": [{"name": "healer"}]}}
    request = {"verb": "patch", "kind": "Deployment", "name": "other"}
    assert Hand(served, named).code("kubernetes.request", body=patch, **request) == "self_target"
    # Where a thing is, is not what it is.
    patch = {"metadata": {"namespace": "healer"}}
    assert Hand(served, named).code("kubernetes.request", body=patch, **request) != "self_target"


@pytest.mark.parametrize("group", ["deployments", "replicasets"])
def test_the_same_name_in_another_place_is_not_uici(served: ApiServer, group: str) -> None:
    name = {"deployments": "healer", "replicasets": "healer-1"}[group]
    request = {"verb": "delete", "resource": group, "name": name, "namespace": "elsewhere"}
    assert Hand(served, SELF).code("kubernetes.request", **request) != "self_target"
