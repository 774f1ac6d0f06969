"""The connection to a real API server: objects by kind, pages, conflicts, refusals, credentials."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executors.deadline import Deadline
from executors.kubernetes.cluster import STRATEGIC_PATCH, Cluster
from executors.kubernetes.settings import KubernetesSettings
from tests.real.components import free_port
from tests.real.kubernetes import RealCluster, deployment
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind


@pytest.fixture
def cluster(real_cluster: RealCluster) -> Iterator[Cluster]:
    made = Cluster(KubernetesSettings.model_validate(real_cluster.connection), "test")
    yield made
    made.close()


def soon() -> Deadline:
    return Deadline(15)


def refusal(action: Callable[[], object]) -> CallError:
    with pytest.raises(CallError) as caught:
        action()
    return caught.value


def configmap(name: str, **data: str) -> JsonObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_the_newest_version_that_is_served_is_taken(cluster: Cluster, real_cluster: RealCluster) -> None:
    said = set(real_cluster.kubectl("api-versions").split())
    for kind, group in (("CronJob", "batch"), ("PodDisruptionBudget", "policy"), ("Deployment", "apps")):
        found = cluster.resource(kind)
        assert found.api_version in said
        assert found.group == group
        stable = f"{group}/v1"
        # The stable version of CronJobs and budgets came with 1.21; only then is it the one to use.
        served = stable in said and any(one.kind == kind for one in cluster.discovery.of(group, "v1"))
        assert (found.version == "v1") is served


def test_what_is_not_served_is_named(cluster: Cluster) -> None:
    error = refusal(lambda: cluster.resource("Deploymnet", "apps"))
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "kind_not_served")
    assert "did you mean 'Deployment'" in error.message


def test_a_list_comes_in_pages_and_each_object_once(cluster: Cluster, namespace: str) -> None:
    resource = cluster.resource("ConfigMap")
    names = [f"m{number:02}" for number in range(11)]
    for name in names:
        cluster.create(resource, namespace, configmap(name), soon())
    listed = cluster.list(resource, namespace, page=3, deadline=soon())
    first = next(listed)
    assert (first["kind"], first["apiVersion"]) == ("ConfigMap", "v1")
    # What happens between two pages neither repeats nor loses anything else.
    cluster.delete(resource, namespace, names[0], soon())
    cluster.create(resource, namespace, configmap("m99"), soon())
    found = [first["metadata"]["name"], *(one["metadata"]["name"] for one in listed)]
    assert [name for name in found if name in names] == names
    assert len(found) == len(set(found))


def test_a_change_of_an_older_state_is_a_conflict(cluster: Cluster, namespace: str) -> None:
    resource = cluster.resource("ConfigMap")
    made = cluster.create(resource, namespace, configmap("it", a="1"), soon())
    version = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}}
    cluster.patch(resource, namespace, "it", {**version, "data": {"a": "2"}}, soon())
    error = refusal(lambda: cluster.patch(resource, namespace, "it", {**version, "data": {"a": "3"}}, soon()))
    assert (error.kind, error.code) == (FailureKind.TEMPORARY, "conflict")
    assert cluster.get(resource, namespace, "it", soon())["data"] == {"a": "2"}
    error = refusal(lambda: cluster.create(resource, namespace, configmap("it"), soon()))
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "already_exists")


def test_a_deletion_means_one_object_and_not_its_successor(cluster: Cluster, namespace: str) -> None:
    resource = cluster.resource("ConfigMap")
    uid = cluster.create(resource, namespace, configmap("it"), soon())["metadata"]["uid"]
    cluster.delete(resource, namespace, "it", soon(), uid=uid)
    cluster.create(resource, namespace, configmap("it"), soon())
    error = refusal(lambda: cluster.delete(resource, namespace, "it", soon(), uid=uid))
    assert error.code == "conflict"
    assert cluster.find(resource, namespace, "it", soon()) is not None


def test_a_dry_run_changes_nothing(cluster: Cluster, namespace: str) -> None:
    resource = cluster.resource("ConfigMap")
    cluster.create(resource, namespace, configmap("it", a="1"), soon())
    before = cluster.get(resource, namespace, "it", soon())
    shown = cluster.patch(resource, namespace, "it", {"data": {"a": "2"}}, soon(), dry_run=True)
    assert shown["data"] == {"a": "2"}
    cluster.delete(resource, namespace, "it", soon(), dry_run=True)
    cluster.create(resource, namespace, configmap("other"), soon(), dry_run=True)
    assert cluster.get(resource, namespace, "it", soon()) == before
    assert cluster.find(resource, namespace, "other", soon()) is None


def test_apply_leaves_what_others_manage(cluster: Cluster, namespace: str, real_cluster: RealCluster) -> None:
    real_cluster.apply(deployment(namespace, "web"))
    resource = cluster.resource("Deployment")
    container = {"name": "web", "env": [{"name": "COLOUR", "value": "red"}]}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    applied = cluster.apply(resource, namespace, "web", body, soon())
    assert applied["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":good")
    taken: JsonObject = {"name": "web", "image": "other:1"}
    body["spec"] = {"template": {"spec": {"containers": [taken]}}}
    error = refusal(lambda: cluster.apply(resource, namespace, "web", body, soon()))
    assert error.code == "conflict"
    assert "kubectl" in error.message
    forced = cluster.apply(resource, namespace, "web", body, soon(), force=True, dry_run=True)
    assert forced["spec"]["template"]["spec"]["containers"][0]["image"] == "other:1"


def test_values_of_variables_stay_out_of_refusals(cluster: Cluster, namespace: str) -> None:
    resource = cluster.resource("Deployment")
    body = deployment(namespace, "web")
    container = body["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "SECRET", "value": "c0ffee\n42", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]
    error = refusal(lambda: cluster.create(resource, namespace, body, soon()))
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "invalid_object")
    assert "c0ffee" not in error.message
    assert "spec.template.spec.containers[0].env[0]" in error.message


def test_a_missing_right_is_named_with_the_rule_that_grants_it(real_cluster: RealCluster, namespace: str) -> None:
    limited = Cluster(KubernetesSettings.model_validate(real_cluster.account(namespace, [], [])), "limited")
    resource = limited.resource("Deployment")
    error = refusal(lambda: limited.patch(resource, namespace, "web", {"spec": {"replicas": 2}}, soon()))
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "forbidden")
    rule = '{apiGroups: ["apps"], resources: [deployments], verbs: [patch]}'
    for part in ("may not patch deployments of apps", namespace, "system:serviceaccount:", rule):
        assert part in error.message
    assert error.detail["missing"]["verb"] == "patch"
    error = refusal(lambda: limited.get(limited.resource("Node"), None, "x", soon()))
    assert "in the whole cluster" in error.message
    assert "ClusterRole" in error.message
    limited.close()


def test_a_wrong_token_and_a_wrong_authority(real_cluster: RealCluster, namespace: str) -> None:
    known = real_cluster.account(namespace, [], [])
    wrong = Cluster(KubernetesSettings.model_validate({**known, "token": "no-such-token-c0ffee"}), "wrong")
    error = refusal(wrong.discovery.groups)
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "unauthorized")
    assert "c0ffee" not in error.message
    untrusting = {name: value for name, value in known.items() if name != "ca_file"}
    error = refusal(lambda: Cluster(KubernetesSettings.model_validate(untrusting), "untrusting").version())
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "tls_refused")


def test_where_nobody_listens_nothing_was_sent(cluster: Cluster) -> None:
    away = Cluster(KubernetesSettings(server=f"https://127.0.0.1:{free_port()}"), "away")
    error = refusal(lambda: away.delete(cluster.resource("Pod"), "default", "web", soon()))
    assert (error.kind, error.code) == (FailureKind.TEMPORARY, "kubernetes_unreachable")


def test_a_program_in_a_container(cluster: Cluster, namespace: str, real_cluster: RealCluster) -> None:
    real_cluster.apply(deployment(namespace, "web"))
    until(lambda: real_cluster.get("-n", namespace, "deployment", "web")["status"].get("readyReplicas") == 1, "ready")
    pod = real_cluster.get("-n", namespace, "pods")["items"][0]["metadata"]["name"]
    done = cluster.exec(namespace, pod, "web", ["sh", "-c", "echo out; echo err >&2; exit 3"], soon())
    assert done.exit_code == 3
    assert sorted(done.content.decode().split()) == ["err", "out"]
    hostile = "$(touch /tmp/x); 'a\"\n"
    assert cluster.exec(namespace, pod, "web", ["echo", hostile], soon()).content.decode() == f"{hostile}\n"
    error = refusal(lambda: cluster.exec(namespace, pod, "web", ["no-such-program"], soon()))
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "program_not_started")
    late = cluster.exec(namespace, pod, "web", ["sleep", "3"], Deadline(1))
    assert (late.timed_out, late.exit_code) == (True, None)
    many = cluster.exec(namespace, pod, "web", ["yes"], soon(), limit=1000)
    assert (many.cut, many.exit_code) == (True, None)
    assert b"ready" in cluster.logs(namespace, pod, "web", soon(), lines=10).content
    error = refusal(lambda: cluster.exec(namespace, "no-such-pod", "web", ["id"], soon()))
    assert error.code == "object_not_found"


def test_a_context_of_a_kubeconfig(real_cluster: RealCluster, tmp_path: Path, namespace: str) -> None:
    seen = json.loads(real_cluster.kubectl("config", "view", "--raw", "-o", "json"))
    own = seen["contexts"][0]["context"]
    seen["contexts"].append({"name": "mine", "context": {**own, "namespace": namespace}})
    seen["contexts"].append({"name": "nobody", "context": {"cluster": own["cluster"]}})
    file = tmp_path / "config"
    file.write_text(json.dumps(seen))
    mine = Cluster(KubernetesSettings(kubeconfig=str(file), context="mine"), "mine")
    assert mine.namespace == namespace
    assert mine.create(mine.resource("ConfigMap"), namespace, configmap("it"), soon())
    nobody = Cluster(KubernetesSettings(kubeconfig=str(file), context="nobody"), "nobody")
    error = refusal(lambda: nobody.get(mine.resource("Pod"), namespace, "x", soon()))
    assert (error.code, error.detail["missing"]["user"]) == ("forbidden", "system:anonymous")
    lost = Cluster(KubernetesSettings(kubeconfig=str(file), context="elsewhere"), "lost")
    error = refusal(lost.version)
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "bad_credentials")
    assert "elsewhere" in error.message


def test_a_strategic_patch_merges_by_name(cluster: Cluster, namespace: str, real_cluster: RealCluster) -> None:
    real_cluster.apply(deployment(namespace, "web"))
    containers = [{"name": "web", "env": [{"name": "A", "value": "1"}]}]
    body = {"spec": {"template": {"spec": {"containers": containers}}}}
    resource = cluster.resource("Deployment")
    found = cluster.patch(resource, namespace, "web", body, soon(), content_type=STRATEGIC_PATCH)
    assert found["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":good")
