"""Verbs for Kubernetes that are only YAML, against a real API server: what they do, and when they do nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from executors.kubernetes import KubernetesExecutor
from tests.integration.kubernetes_ground import crd
from tests.integration.test_packs import prepared_step
from tests.integration.test_reload_service import EXECUTORS, perform
from tests.real.kubernetes import REPOSITORY, RealCluster, deployment
from tests.waiting import until
from uici.catalogue.loading import load_site
from uici.model.base import JsonObject
from uici.model.call import CallError
from uici.model.errors import Problem
from uici.model.identity import SelfIdentity
from uici.model.site import Environment, Site
from uici.ports import ExecutorContext
from uici.translation.selections import complete, operation_result

ANNOTATION = "cert-manager.io/certificate-name"


class Ground:
    """An executor whose connection's namespace is the test's own, and the verbs that ship."""

    def __init__(self, cluster: RealCluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        settings = cluster.connection | {"namespace": namespace}
        context = ExecutorContext(environment="kubernetes", settings=settings, identity=SelfIdentity())
        self.executor = KubernetesExecutor(context)
        shipped = load_site(None, executors=EXECUTORS)
        environments = {"kubernetes": Environment(platform="kubernetes")}
        self.site: Site = shipped.model_copy(update={"environments": environments})

    def binding(self, kind: str, name: str) -> JsonObject:
        return {"kind": kind, "name": name, "namespace": self.namespace}

    def do(self, operation: str, binding: JsonObject, **parameters: object) -> JsonObject:
        """Carry out a verb, and see that it is verified."""
        step = prepared_step(self.site, "kubernetes", operation, binding, parameters)
        result = perform(self.executor, step)
        self.verified(operation, step, step.calls)
        return result

    def verified(self, operation: str, step: Any, calls: Any) -> None:
        """What the verification needs from calls that are repeated at no cost: the first ones only read."""
        check = step.operation.verification
        results: dict[str, Any] = {}
        needed = json.dumps([call.arguments for call in step.verification.calls])
        for call in calls:
            if f"calls.{call.id}." in needed:
                if call.mutates:
                    return  # its answer came once
                results[call.id] = self.executor.perform(call)

        def holds() -> bool:
            seen = dict(results)
            for call in step.verification.calls:
                spec = self.executor.call_specs[call.name]
                seen[call.id] = self.executor.perform(complete(call, seen, spec, self.executor.classify))
            return all(condition.holds(operation_result(step.verification, seen)) for condition in check.expect)

        until(holds, f"the verification of {operation}", seconds=check.within_seconds)

    def get(self, *words: str) -> Any:
        return self.cluster.get("-n", self.namespace, *words)

    def kubectl(self, *words: str, check: bool = True) -> str:
        return self.cluster.kubectl("-n", self.namespace, *words, check=check)

    def patch(self, kind: str, name: str, body: JsonObject, *words: str) -> None:
        self.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps(body), *words)


@pytest.fixture
def ground(real_cluster: RealCluster, namespace: str) -> Iterator[Ground]:
    made = Ground(real_cluster, namespace)
    yield made
    made.executor.close()


class Controller:
    """Somebody beside UICI who does, over and over, what a controller would, until the block ends."""

    def __init__(self, once: Callable[[], None]) -> None:
        self._once = once
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._once()
            time.sleep(0.2)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def custom(group: str, version: str, kind: str, name: str, namespace: str, **more: Any) -> JsonObject:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": metadata, **more}


def running(script: str) -> JsonObject:
    return {"name": "it", "image": f"{REPOSITORY}:good", "imagePullPolicy": "Never", "command": ["sh", "-c", script]}


def test_a_certificate_is_issued_anew_and_its_user_is_rolled(ground: Ground) -> None:
    crd(ground.cluster, "cert-manager.io", "v1", "Certificate")
    secret: JsonObject = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "web-tls", "namespace": ground.namespace, "annotations": {ANNOTATION: "web"}},
        "stringData": {"tls.key": "hunter2"},
    }
    ground.cluster.apply(
        secret,
        {**secret, "metadata": {"name": "lone", "namespace": ground.namespace}},
        deployment(ground.namespace, "web"),
    )
    ground.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    binding = ground.binding("Deployment", "web")
    with pytest.raises(Problem, match="has no 'cert-manager"):
        ground.do("rotate_certificate_secret", binding, secret="lone")
    with pytest.raises(CallError, match="web"):
        ground.do("rotate_certificate_secret", binding, secret="web-tls")
    old = ground.get("secret", "web-tls")["metadata"]["uid"]
    pods = {pod["metadata"]["uid"] for pod in ground.get("pods")["items"]}
    ground.cluster.apply(custom("cert-manager.io", "v1", "Certificate", "web", ground.namespace))

    def issue() -> None:
        if not ground.kubectl("get", "secret", "web-tls", "--ignore-not-found"):
            ground.cluster.apply(secret)

    with Controller(issue):
        result = ground.do("rotate_certificate_secret", binding, secret="web-tls")
    new = ground.get("secret", "web-tls")["metadata"]["uid"]
    assert result == {"certificate": new}
    assert new != old
    assert ground.kubectl("get", "secret", "lone")
    until(lambda: pods.isdisjoint(pod["metadata"]["uid"] for pod in ground.get("pods")["items"]), "new pods only")


def test_a_claim_grows_only_where_its_class_allows_it(ground: Ground) -> None:
    name = ground.namespace

    def storage(suffix: str, grows: bool) -> list[JsonObject]:
        storage_class = f"{name}-{suffix}"
        return [
            {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": storage_class},
             "provisioner": "example.com/nobody", "allowVolumeExpansion": grows},
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": storage_class},
             "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                      "storageClassName": storage_class, "hostPath": {"path": "/tmp/none"}}},
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": suffix, "namespace": name},
             "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": storage_class,
                      "resources": {"requests": {"storage": "1Gi"}}}},
        ]  # fmt: skip

    def size(claim: str) -> str:
        return str(ground.get("pvc", claim)["spec"]["resources"]["requests"]["storage"])

    try:
        ground.cluster.apply(*storage("grows", True), *storage("stays", False))
        for claim in ("grows", "stays"):
            until(lambda claim=claim: ground.get("pvc", claim)["status"].get("phase") == "Bound", "a bound claim")  # type: ignore[misc] # mypy cannot infer a lambda with a default
        binding = ground.binding("StatefulSet", "db")
        assert ground.do("expand_volume_claim", binding, claim="grows", size="2Gi") == {"was": "1Gi"}
        assert size("grows") == "2Gi"
        with pytest.raises(CallError):
            ground.do("expand_volume_claim", binding, claim="grows", size="1Gi")
        with pytest.raises(CallError) as caught:
            ground.do("expand_volume_claim", binding, claim="stays", size="2Gi")
        assert caught.value.code == "not_yet"
        assert (size("grows"), size("stays")) == ("2Gi", "1Gi")
    finally:
        ground.kubectl("delete", "pvc", "--all", "--wait=false")
        ground.cluster.kubectl(
            "delete", "pv,storageclass", f"{name}-grows", f"{name}-stays", "--wait=false", check=False
        )


def test_a_finalizer_goes_only_from_what_is_being_deleted(ground: Ground) -> None:
    metadata: JsonObject = {
        "name": "stuck",
        "namespace": ground.namespace,
        "finalizers": ["example.com/a", "example.com/b"],
    }
    ground.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    binding = ground.binding("Deployment", "web")
    given = {"resource": "configmaps", "name": "stuck"}

    def finalizers() -> list[str]:
        return list(ground.get("configmap", "stuck")["metadata"]["finalizers"])

    with pytest.raises(Problem, match="no 'deletionTimestamp'"):
        ground.do("clear_stuck_finalizer", binding, **given, finalizer="example.com/a")
    ground.kubectl("delete", "configmap", "stuck", "--wait=false")
    with pytest.raises(CallError):
        ground.do("clear_stuck_finalizer", binding, **given, finalizer="example.com/b")
    assert finalizers() == metadata["finalizers"]
    step = prepared_step(
        ground.site, "kubernetes", "clear_stuck_finalizer", binding, {**given, "finalizer": "example.com/a"}
    )
    assert step.risk.value == "destructive"
    perform(ground.executor, step)
    assert finalizers() == ["example.com/b"]
    assert ground.do("clear_stuck_finalizer", binding, **given, finalizer="example.com/b")["deleted_since"]
    assert ground.kubectl("get", "configmap", "stuck", "--ignore-not-found") == ""


def test_argo_cd_is_asked_and_waited_for(ground: Ground) -> None:
    crd(ground.cluster, "argoproj.io", "v1alpha1", "Application")
    ground.cluster.apply(
        custom("argoproj.io", "v1alpha1", "Application", "web", ground.namespace, spec={"project": "x"})
    )
    refresh = "argocd.argoproj.io/refresh"
    asked: list[str] = []

    def look() -> None:
        annotations = ground.get("application", "web")["metadata"].get("annotations") or {}
        if refresh in annotations:
            asked.append(annotations[refresh])
            status = {
                "reconciledAt": "2026-01-01T00:00:00Z",
                "sync": {"status": "Synced"},
                "health": {"status": "Healthy"},
            }
            ground.patch("application", "web", {"metadata": {"annotations": {refresh: None}}, "status": status})

    with Controller(look):
        result = ground.do("refresh_argo_application", {"name": "web"}, application="web", namespace=ground.namespace)
    assert (result, asked) == ({"sync": "Synced", "health": "Healthy"}, ["hard"])


def test_flux_is_asked_and_waited_for(ground: Ground) -> None:
    group = "kustomize.toolkit.fluxcd.io"
    crd(ground.cluster, group, "v1", "Kustomization")
    ground.cluster.apply(custom(group, "v1", "Kustomization", "web", ground.namespace, spec={"interval": "1h"}))
    ready = [{"type": "Reconciling", "status": "False"}, {"type": "Ready", "status": "True"}]

    def look() -> None:
        found = ground.get("kustomization", "web")
        wanted = (found["metadata"].get("annotations") or {}).get("reconcile.fluxcd.io/requestedAt")
        if wanted and found.get("status", {}).get("lastHandledReconcileAt") != wanted:
            ground.patch("kustomization", "web", {"status": {"lastHandledReconcileAt": wanted, "conditions": ready}})

    with Controller(look):
        for _ in range(2):
            result = ground.do("reconcile_flux", {"name": "web"}, kustomization="web", namespace=ground.namespace)
            assert result == {"ready": "True"}


def test_a_cronjob_runs_once_now(ground: Ground) -> None:
    container = {
        "name": "it",
        "image": f"{REPOSITORY}:good",
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "exit 0"],
    }
    pods = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    served = ground.cluster.kubectl("api-resources", "--api-group=batch", "--no-headers")
    api_version = next(
        word for line in served.splitlines() if "CronJob" in line for word in line.split() if "/" in word
    )
    ground.cluster.apply(
        {
            "apiVersion": api_version,
            "kind": "CronJob",
            "metadata": {"name": "report", "namespace": ground.namespace},
            "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": pods}}},
        }
    )
    made = ground.do("rerun_job", ground.binding("CronJob", "report"))["job"]
    job = ground.get("job", made)
    assert job["status"]["succeeded"] == 1
    assert job["metadata"]["ownerReferences"][0]["name"] == "report"
    assert [each["metadata"]["name"] for each in ground.get("jobs")["items"]] == [made]


def test_only_dead_pods_of_the_deployment_are_removed(ground: Ground) -> None:
    ground.cluster.apply(deployment(ground.namespace, "web"))
    ground.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    container = {
        "name": "it",
        "image": f"{REPOSITORY}:good",
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "exit 1"],
    }
    for name, labels in (("dead-1", {"app": "web"}), ("dead-2", {"app": "web"}), ("other", {"app": "other"})):
        metadata = {"name": name, "namespace": ground.namespace, "labels": labels}
        pod: JsonObject = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        ground.cluster.apply({**pod, "spec": {"restartPolicy": "Never", "containers": [container]}})

    def pods(phase: str) -> set[str]:
        return {pod["metadata"]["name"] for pod in ground.get("pods")["items"] if pod["status"].get("phase") == phase}

    # A ReplicaSet takes over pods with its labels; those that have failed it leaves where they are.
    until(lambda: "other" in pods("Failed") and {"dead-1", "dead-2"} & pods("Failed") != set(), "dead pods")
    alive = pods("Running")
    dead = pods("Failed") - {"other"}
    assert ground.do("reclaim_evicted_pods", ground.binding("Deployment", "web")) == {"removed": len(dead)}
    assert pods("Failed") == {"other"}
    assert alive <= pods("Running")
