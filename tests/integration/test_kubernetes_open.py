"""The calls that reach anything, and dry runs, against a real API server."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from executors.kubernetes import KubernetesExecutor
from executors.kubernetes.open_calls import EXEC, REQUEST
from tests.real.kubernetes import RealCluster, deployment
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import Call, CallError, FailureKind, Risk
from uici.model.identity import SelfIdentity
from uici.model.rehearsal import Rehearsal
from uici.ports import ExecutorContext


class Ground:
    """An executor whose connection's namespace is the test's own."""

    def __init__(self, cluster: RealCluster, namespace: str, identity: SelfIdentity | None = None) -> None:
        self.cluster = cluster
        self.namespace = namespace
        settings = cluster.connection | {"namespace": namespace}
        context = ExecutorContext(environment="test", settings=settings, identity=identity or SelfIdentity())
        self.executor = KubernetesExecutor(context)

    def call(self, arguments: JsonObject, name: str = REQUEST) -> Call:
        spec = KubernetesExecutor.call_specs[name]
        mutates, risk = KubernetesExecutor.classify(name, arguments)
        return Call(
            id="it", name=name, arguments=arguments, mutates=mutates, risk=risk, timeout_seconds=20,
            in_flight_seconds=spec.in_flight_seconds, provable=spec.provable,
        )  # fmt: skip

    def ask(self, verb: str, **arguments: Any) -> JsonObject:
        return self.executor.perform(self.call({"verb": verb, **arguments}))

    def rehearse(self, verb: str, **arguments: Any) -> Rehearsal:
        found = self.executor.rehearse(self.call({"verb": verb, **arguments}))
        assert found is not None
        return found

    def refused(self, verb: str, **arguments: Any) -> CallError:
        with pytest.raises(CallError) as caught:
            self.ask(verb, **arguments)
        return caught.value

    def versions(self) -> dict[str, str]:
        """Kind and name of every object of the namespace -> its resourceVersion."""
        kinds = self.cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
        wanted = ",".join(kind for kind in kinds if not kind.startswith("events"))
        listed = self.cluster.get("-n", self.namespace, wanted)["items"]
        return {
            f"{one['apiVersion']} {one['kind']} {one['metadata']['name']}": one["metadata"]["resourceVersion"]
            for one in listed
        }


@pytest.fixture
def ground(real_cluster: RealCluster, namespace: str) -> Iterator[Ground]:
    made = Ground(real_cluster, namespace)
    yield made
    made.executor.close()


def configmap(name: str, **data: str) -> JsonObject:
    return {"metadata": {"name": name, "labels": {"of": "test"}}, "data": data}


def secret(name: str, **data: str) -> JsonObject:
    return {"metadata": {"name": name}, "stringData": data}


def test_every_verb_does_what_it_says(ground: Ground) -> None:
    made = ground.ask("create", kind="ConfigMap", body=configmap("one", colour="blue"))
    assert (made["status"], made["body"]["data"]) == (201, {"colour": "blue"})
    assert "managedFields" not in made["body"]["metadata"]
    seen = ground.ask("get", kind="ConfigMap", name="one")["body"]
    changed = {**seen, "data": {"colour": "green"}}
    assert ground.ask("update", resource="configmaps", name="one", body=changed)["body"]["data"] == {"colour": "green"}
    assert ground.refused("update", kind="ConfigMap", name="one", body=changed).code == "conflict"
    merged = ground.ask("patch", kind="ConfigMap", name="one", body={"data": {"size": "xl"}})
    assert merged["body"]["data"] == {"colour": "green", "size": "xl"}
    steps = [{"op": "test", "path": "/data/size", "value": "xl"}, {"op": "remove", "path": "/data/size"}]
    patched = ground.ask("patch", kind="ConfigMap", name="one", patch_type="json", body=steps)
    assert patched["body"]["data"] == {"colour": "green"}
    applied = ground.ask("apply", kind="ConfigMap", api_version="v1", name="two", body={"data": {"a": "1"}})
    assert (applied["status"], applied["body"]["metadata"]["name"]) == (201, "two")
    ground.cluster.kubectl("-n", ground.namespace, "patch", "configmap", "two", "-p", '{"data": {"a": "2"}}')
    taken = ground.refused("apply", kind="ConfigMap", name="two", body={"data": {"a": "3"}})
    assert taken.code == "conflict"
    assert ground.ask("apply", kind="ConfigMap", name="two", body={"data": {"a": "3"}}, force=True)["status"] == 200
    listed = ground.ask("list", kind="ConfigMap", labels={"of": "test"})
    assert [one["metadata"]["name"] for one in listed["body"]["items"]] == ["one"]
    some = ground.ask("list", kind="ConfigMap", fields=f"metadata.namespace={ground.namespace}", limit=1)
    assert (len(some["body"]["items"]), some["truncated"]) == (1, True)
    uid = ground.ask("get", kind="ConfigMap", name="two")["body"]["metadata"]["uid"]
    assert ground.refused("delete", kind="ConfigMap", name="two", uid="0-0").code == "conflict"
    assert ground.ask("delete", kind="ConfigMap", name="two", uid=uid)["status"] == 200
    ground.ask("deletecollection", kind="ConfigMap", labels="of=test")
    names = [one["metadata"]["name"] for one in ground.ask("list", kind="ConfigMap")["body"]["items"]]
    assert not {"one", "two"} & set(names)


def test_an_expected_status_is_a_result_and_any_other_a_failure(ground: Ground) -> None:
    gone = ground.ask("get", kind="ConfigMap", name="none", expect_status=[200, 404])
    assert gone == {"status": 404, "body": None, "truncated": False}
    assert ground.refused("get", kind="ConfigMap", name="none", expect_status=[200]).code == "object_not_found"
    ground.ask("create", kind="ConfigMap", body=configmap("one"))
    error = ground.refused("get", kind="ConfigMap", name="one", expect_status=[404])
    assert (error.code, error.kind) == ("unexpected_status", FailureKind.PERMANENT)


def test_subresources_of_a_running_workload(ground: Ground) -> None:
    ground.cluster.apply(deployment(ground.namespace, "web"))
    ground.cluster.kubectl("-n", ground.namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    scale = ground.ask("get", kind="Deployment", name="web", subresource="scale")["body"]
    assert scale["spec"] == {"replicas": 1}
    ground.ask("patch", kind="Deployment", name="web", subresource="scale", body={"spec": {"replicas": 2}})
    until(lambda: len(pods(ground)) == 2, "the second pod")
    ground.cluster.kubectl("-n", ground.namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    name = pods(ground)[0]["metadata"]["name"]
    log = ground.ask("get", kind="Pod", name=name, subresource="log", query={"tailLines": 5})
    assert isinstance(log["body"], str)
    target = {"kind": "Deployment", "name": "web", "namespace": ground.namespace}
    arguments = {"target": target, "argv": ["/bin/sh", "-c", "echo said; exit 3"]}
    done = ground.executor.perform(ground.call(arguments, EXEC))
    assert done == {"exit_code": 3, "output": "said\n", "truncated": False}
    with pytest.raises(CallError, match="exit code 3, expected 0"):
        ground.executor.perform(ground.call({**arguments, "expect_exit": [0]}, EXEC))
    with pytest.raises(CallError, match="is not started to see what it would do"):
        ground.executor.rehearse(ground.call(arguments, EXEC))
    eviction = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": name}}
    assert ground.ask("create", kind="Pod", name=name, subresource="eviction", body=eviction)["status"] == 201
    until(lambda: name not in [one["metadata"]["name"] for one in pods(ground)], "the evicted pod has gone")


def pods(ground: Ground) -> list[Any]:
    return [
        one
        for one in ground.ask("list", kind="Pod", labels="app=web")["body"]["items"]
        if "deletionTimestamp" not in one["metadata"]
    ]


def test_what_a_secret_holds_is_never_returned_or_shown(ground: Ground) -> None:
    texts = [json.dumps(ground.ask("create", kind="Secret", body=secret("key", word="hunter22")))]
    written = {"apiVersion": "v1", "kind": "Secret", **secret("applied", word="hunter22")}
    ground.cluster.kubectl("-n", ground.namespace, "apply", "-f", "-", stdin=json.dumps(written))
    texts.append(json.dumps(ground.ask("get", kind="Secret", name="applied")))
    texts.append(json.dumps(ground.ask("list", kind="Secret")))
    texts.append(json.dumps(ground.ask("patch", kind="Secret", name="key", body={"stringData": {"word": "other33"}})))
    changed = ground.rehearse("patch", kind="Secret", name="key", body={"stringData": {"word": "third444"}})
    assert [(one.field, one.now, one.after) for one in changed.changes] == [("data.word", "******", "******")]
    made = ground.rehearse("create", kind="Secret", body=secret("new", word="fourth55"))
    gone = ground.rehearse("delete", kind="Secret", name="key")
    long = ground.refused("patch", kind="Secret", name="key", body={"stringData": {"bad key!": "fifth666"}})
    texts += [repr(changed), repr(made), repr(gone), long.message, repr(long.detail)]
    for word in ("hunter22", "other33", "third444", "fourth55", "fifth666"):
        assert not any(word in text or b64encode(word.encode()).decode() in text for text in texts), word
    assert ground.ask("get", kind="Secret", name="key")["body"]["data"] == {"word": "******"}


def test_a_rehearsal_shows_each_value_that_would_change_and_changes_none(ground: Ground) -> None:
    ground.cluster.apply(deployment(ground.namespace, "web"))
    ground.cluster.kubectl("-n", ground.namespace, "rollout", "status", "deployment/web", "--timeout=60s")
    ground.ask("create", kind="ConfigMap", body=configmap("one", colour="blue"))
    before = ground.versions()
    body = {
        "spec": {
            "replicas": 3,
            "template": {"spec": {"containers": [{"name": "web", "env": [{"name": "COLOUR", "value": "red"}]}]}},
        },
        "metadata": {"annotations": {"example.org/why": "test"}},
    }
    found = ground.rehearse("patch", kind="Deployment", name="web", patch_type="strategic", body=body)
    assert found.accepted
    assert {(one.field, str(one.now), str(one.after)) for one in found.changes} >= {
        ("spec.replicas", "1", "3"),
        ("metadata.annotations[example.org/why]", "None", "test"),
        ("spec.template.spec.containers[web].env[COLOUR].value", "None", "red"),
    }
    assert {one.object for one in found.changes} == {f"Deployment {ground.namespace}/web"}
    scaled = ground.rehearse(
        "patch", kind="Deployment", name="web", subresource="scale", body={"spec": {"replicas": 2}}
    )
    assert [(one.object, one.field, one.now, one.after) for one in scaled.changes] == [
        (f"Scale of deployments {ground.namespace}/web", "spec.replicas", 1, 2)
    ]
    pod = pods(ground)[0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": pod}}
    present = [("", "present", None)]
    place = ground.namespace
    evicted = ground.rehearse("create", kind="Pod", name=pod, subresource="eviction", body=eviction)
    deleted = ground.rehearse("delete", kind="Deployment", name="web", propagation="Foreground")
    for rehearsal, name in (
        (ground.rehearse("delete", kind="Pod", name=pod), f"Pod {place}/{pod}"),
        (evicted, f"Pod {place}/{pod}"),
        (ground.rehearse("deletecollection", kind="ConfigMap", labels="of=test"), f"ConfigMap {place}/one"),
        (deleted, f"Deployment {place}/web"),
    ):
        assert rehearsal.accepted, rehearsal
        assert [(one.field, one.now, one.after) for one in rehearsal.changes] == present
        assert rehearsal.changes[0].object == name
    made = ground.rehearse("create", kind="ConfigMap", body=configmap("two", a="1"))
    assert ("data.a", None, "1") in [(one.field, one.now, one.after) for one in made.changes]
    assert ground.rehearse(
        "apply", kind="ConfigMap", name="one", body={"data": {"colour": "blue"}}, force=True
    ).accepted
    assert ground.versions() == before


def test_what_the_api_server_refuses_is_an_answer(ground: Ground) -> None:
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"count/configmaps": "1"}}}
    ground.ask("create", kind="ResourceQuota", body=quota)
    until(
        lambda: "used" in ground.ask("get", kind="ResourceQuota", name="few")["body"].get("status", {}),
        "the quota is counted",
    )
    refused = ground.rehearse("create", kind="ConfigMap", body=configmap("one"))
    assert (refused.accepted, refused.code) == (False, "quota_exceeded")
    assert "count/configmaps" in refused.reason
    invalid = ground.rehearse("create", kind="Service", body={"metadata": {"name": "x"}, "spec": {"ports": []}})
    assert (invalid.accepted, invalid.code) == (False, "invalid_object")
    assert ground.rehearse("delete", kind="ConfigMap", name="none").code == "object_not_found"


def test_unknown_kinds_and_arguments_are_refused_with_what_there_is(ground: Ground) -> None:
    assert "did you mean 'ConfigMap'" in ground.refused("get", kind="ConfigMapp", api_version="v1", name="x").message
    assert "did you mean 'configmaps'" in ground.refused("get", resource="configmap", group="", name="x").message
    for arguments in (
        {"kind": "Pod"}, {"kind": "Pod", "resource": "pods", "name": "x"}, {"kind": "Pod", "name": "../nodes"},
        {"kind": "Pod", "name": "x", "subresource": "exec"}, {"name": "x"},
    ):  # fmt: skip
        assert ground.refused("get", **arguments).code == "bad_arguments"
    assert ground.refused("deletecollection", kind="Pod").code == "bad_arguments"


@pytest.mark.parametrize("reach", ["name", "owner", "grandowner", "label", "namespace", "secret", "node", "eviction"])
def test_what_uici_runs_in_is_never_changed(real_cluster: RealCluster, namespace: str, reach: str) -> None:
    settings: JsonObject = {"volumes": [{"name": "v", "secret": {"secretName": "own", "optional": True}}]}
    real_cluster.apply(deployment(namespace, "healer", **settings), deployment(namespace, "other"))
    real_cluster.kubectl("-n", namespace, "rollout", "status", "deployment/healer", "--timeout=60s")
    (pod,) = real_cluster.get("-n", namespace, "pods", "-l", "app=healer")["items"]
    name, node = pod["metadata"]["name"], pod["spec"]["nodeName"]
    identity = SelfIdentity(pods=frozenset({f"{namespace}/{name}"}))
    own = Ground(real_cluster, namespace, identity)
    eviction = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": name}}
    requests: dict[str, tuple[str, JsonObject]] = {
        "name": ("delete", {"kind": "Pod", "name": name}),
        "owner": ("patch", {"resource": "replicasets", "group": "apps", "name": name.rpartition("-")[0], "body": {}}),
        "grandowner": ("patch", {"kind": "Deployment", "name": "healer", "subresource": "scale", "body": {}}),
        "label": ("deletecollection", {"kind": "Pod", "labels": "app in (healer, other)"}),
        "namespace": ("delete", {"kind": "Namespace", "name": namespace}),
        "secret": ("delete", {"kind": "Secret", "name": "own"}),
        "node": ("patch", {"kind": "Node", "name": node, "body": {"spec": {"unschedulable": True}}}),
        "eviction": ("create", {"kind": "Pod", "name": name, "subresource": "eviction", "body": eviction}),
    }
    verb, arguments = requests[reach]
    error = own.refused(verb, **arguments, dry_run=True)
    assert error.code == "self_target"
    assert own.rehearse(verb, **arguments).code == "self_target"
    # What stands beside it may be changed.
    assert own.ask("patch", kind="Deployment", name="other", body={"spec": {"replicas": 0}})["status"] == 200
    assert own.ask("deletecollection", kind="Pod", labels="app=other", dry_run=True)["status"] == 200
    own.executor.close()


@pytest.mark.parametrize(
    ("arguments", "classed"),
    [
        ({"verb": "get", "kind": "Pod", "name": "x"}, (False, Risk.LOW)),
        ({"verb": "list", "kind": "Secret"}, (False, Risk.LOW)),
        ({"verb": "get", "kind": "Pod", "name": "x", "subresource": "log"}, (False, Risk.LOW)),
        ({"verb": "get", "kind": "Pod", "name": "x", "subresource": "proxy"}, (True, Risk.HIGH)),
        ({"verb": "get", "kind": "Pod", "subresource": {"$select": "calls.a.b"}}, (True, Risk.DESTRUCTIVE)),
        ({"verb": {"$select": "calls.a.b"}, "kind": "Pod"}, (True, Risk.DESTRUCTIVE)),
        ({"verb": "delete", "kind": {"$select": "calls.a.b"}}, (True, Risk.DESTRUCTIVE)),
        ({"verb": "patch", "kind": "Node", "name": "x"}, (True, Risk.HIGH)),
        ({"verb": "delete", "kind": "Pod", "name": "x"}, (True, Risk.HIGH)),
        ({"verb": "delete", "kind": "Namespace", "name": "x"}, (True, Risk.DESTRUCTIVE)),
        ({"verb": "deletecollection", "resource": "persistentvolumes", "labels": "a"}, (True, Risk.DESTRUCTIVE)),
    ],
)
def test_a_request_is_classed_by_what_it_does(arguments: JsonObject, classed: tuple[bool, Risk]) -> None:
    assert KubernetesExecutor.classify(REQUEST, arguments) == classed
