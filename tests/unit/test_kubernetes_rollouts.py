"""How far a rollout is and why it does not go on; which revision a rollback means; who owns what in Git."""

from __future__ import annotations

from typing import Any

import pytest

from executors.kubernetes.gitops import owner_of, refuse_owned
from executors.kubernetes.revisions import NOTE, Note, current, deployment_of, note_of, previous, revisions_of
from executors.kubernetes.rollouts import progress_of, troubles_of
from executors.kubernetes.templates import template_digest
from uici.model.call import CallError


def workload(kind: str, spec: dict[str, Any], status: dict[str, Any], generation: int = 2) -> dict[str, Any]:
    seen = {"observedGeneration": generation, **status}
    return {"kind": kind, "metadata": {"name": "web", "generation": 2}, "spec": spec, "status": seen}


@pytest.mark.parametrize(
    ("spec", "status", "done", "detail"),
    [
        ({"replicas": 3}, {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}, True, "3 pods are new"),
        ({"replicas": 3}, {"replicas": 3, "updatedReplicas": 1, "availableReplicas": 3}, False, "1 of 3 pods are new"),
        ({"replicas": 3}, {"replicas": 4, "updatedReplicas": 3, "availableReplicas": 4}, False, "1 old pods"),
        ({"replicas": 3}, {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 2}, False, "2 of 3 new pods"),
        ({"replicas": 0}, {}, True, "0 pods"),
    ],
)
def test_the_rollout_of_a_deployment(spec: dict[str, Any], status: dict[str, Any], done: bool, detail: str) -> None:
    found = progress_of(workload("Deployment", spec, status))
    assert (found.done, found.failed) == (done, False)
    assert detail in found.detail


def test_a_rollout_that_was_not_seen_yet_is_not_done() -> None:
    status = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    assert not progress_of(workload("Deployment", {"replicas": 1}, status, generation=1)).done


def test_a_rollout_beyond_its_progress_deadline_has_failed() -> None:
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    found = progress_of(
        workload("Deployment", {"replicas": 1, "progressDeadlineSeconds": 9}, {"conditions": [condition]})
    )
    assert found.failed
    assert "9 s" in found.detail


READY = {"updatedReplicas": 2, "readyReplicas": 2}
SCHEDULED = {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}


@pytest.mark.parametrize(
    ("kind", "spec", "status", "done"),
    [
        ("StatefulSet", {"replicas": 2}, {**READY, "updateRevision": "b", "currentRevision": "b"}, True),
        ("StatefulSet", {"replicas": 2}, {**READY, "updateRevision": "b", "currentRevision": "a"}, False),
        ("StatefulSet", {"replicas": 2}, {**READY, "updatedReplicas": 1}, False),
        ("StatefulSet", {"replicas": 2}, {**READY, "readyReplicas": 1}, False),
        ("StatefulSet", {"replicas": 2, "updateStrategy": {"type": "OnDelete"}}, {"readyReplicas": 2}, True),
        (
            "StatefulSet",
            {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}},
            {"updatedReplicas": 1, "readyReplicas": 3},
            True,
        ),
        ("DaemonSet", {}, SCHEDULED, True),
        ("DaemonSet", {}, {**SCHEDULED, "updatedNumberScheduled": 1}, False),
        ("DaemonSet", {}, {**SCHEDULED, "numberAvailable": 1}, False),
    ],
)
def test_the_rollout_of_the_other_kinds(kind: str, spec: dict[str, Any], status: dict[str, Any], done: bool) -> None:
    assert progress_of(workload(kind, spec, status)).done is done


def pod(container: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    more = {"containerStatuses": [{"name": "web", "ready": False, **container}]} if container else {}
    return {"metadata": {"name": "web-1"}, "status": {"phase": "Pending", **more, **status}}


def waiting(reason: str, message: str, last: dict[str, Any] | None = None) -> dict[str, Any]:
    return pod({"state": {"waiting": {"reason": reason, "message": message}}, "lastState": {"terminated": last}})


ENDED = {"exitCode": 137, "reason": "OOMKilled"}
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}


@pytest.mark.parametrize(
    ("found", "reason", "detail", "stuck"),
    [
        (waiting("ImagePullBackOff", "no such"), "ImagePullBackOff", "no such", True),
        (waiting("CrashLoopBackOff", "back-off", ENDED), "CrashLoopBackOff", "exit code 137 (OOMKilled)", True),
        (pod({"state": {"terminated": {"exitCode": 3, "reason": "Error"}}}), "Error", "exit code 3", False),
        (pod({"state": {"running": {}}, "restartCount": 0}), "NotReady", "readiness probe does not pass", False),
        (waiting("ContainerCreating", ""), "ContainerCreating", "", False),
        (pod(conditions=[UNSCHEDULABLE]), "Unschedulable", "0/1 nodes", False),
        (pod(reason="Evicted", message="low on resource: memory", phase="Failed"), "Evicted", "low on resource", True),
        (pod(), "Pending", "", False),
    ],
)
def test_why_a_pod_is_not_ready(found: dict[str, Any], reason: str, detail: str, stuck: bool) -> None:
    (trouble,) = troubles_of([found])
    assert (trouble.reason, trouble.stuck) == (reason, stuck)
    assert detail in trouble.detail
    assert str(trouble).startswith(f"pod web-1: {reason}")


def test_a_ready_pod_and_one_that_goes_away_are_in_no_trouble() -> None:
    ready = pod(conditions=[{"type": "Ready", "status": "True"}])
    going = pod()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert troubles_of([ready, going]) == []


def template(image: str) -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}}


def replica_set(name: str, number: int, image: str) -> dict[str, Any]:
    marked = template(image)
    marked["metadata"]["labels"]["pod-template-hash"] = name.removeprefix("web-")
    metadata = {"name": name, "annotations": {"deployment.kubernetes.io/revision": str(number)}}
    return {"kind": "ReplicaSet", "metadata": metadata, "spec": {"template": marked}}


def deployment(image: str, note: Note | None = None) -> dict[str, Any]:
    annotations = {NOTE: note.written()} if note else {}
    return {
        "kind": "Deployment",
        "metadata": {"name": "web", "annotations": annotations},
        "spec": {"template": template(image)},
    }


THREE = revisions_of(
    [replica_set("web-a", 1, "web:1"), replica_set("web-c", 3, "web:3"), replica_set("web-b", 2, "web:2")]
)


def test_without_a_note_the_newest_other_revision_is_the_one_before() -> None:
    found = deployment("web:3")
    now, before = current(found, THREE), previous(found, THREE)
    assert now is not None
    assert before is not None
    assert (now.name, before.name) == ("web-c", "web-b")


def test_a_note_of_the_present_template_says_which_is_the_one_before() -> None:
    noted = Note(template_digest(template("web:3")), "web-a", "2026-01-01T00:00:00Z")
    found = deployment("web:3", noted)
    assert note_of(found) == noted
    assert deployment_of(found, THREE, "web:3") == {
        "image": "web:3",
        "revision": "web-c",
        "previous_revision": "web-a",
        "deployed_at": "2026-01-01T00:00:00Z",
    }
    none = deployment("web:3", Note(template_digest(template("web:3"))))
    assert previous(none, THREE) is None


@pytest.mark.parametrize("written", ["", "{", "[]", '{"template": "x", "unknown": 1}', '{"previous": "web-a"}'])
def test_a_note_that_is_none_of_ours_says_nothing(written: str) -> None:
    found = deployment("web:3")
    found["metadata"]["annotations"][NOTE] = written
    before = previous(found, THREE)
    assert before is not None
    assert before.name == "web-b"


def test_a_note_of_another_template_says_nothing() -> None:
    found = deployment("web:3", Note(template_digest(template("web:2")), "web-a", "2026-01-01T00:00:00Z"))
    assert deployment_of(found, THREE, "web:3") == {"image": "web:3", "revision": "web-c", "previous_revision": "web-b"}


def owned(labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    metadata = {"name": "web", "namespace": "shop", "labels": labels or {}, "annotations": annotations or {}}
    return {"kind": "Deployment", "metadata": metadata}


TRACKED = "argocd.argoproj.io/tracking-id"


@pytest.mark.parametrize(
    ("found", "owner"),
    [
        (owned(annotations={TRACKED: "shop-app:apps/Deployment:shop/web"}), "Argo CD (Application shop-app)"),
        (owned({"argocd.argoproj.io/instance": "shop-app"}), "Argo CD (Application shop-app)"),
        (
            owned({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}),
            "Flux (Kustomization flux-system/apps)",
        ),
        (owned({"helm.toolkit.fluxcd.io/name": "web"}), "Flux (HelmRelease web)"),
    ],
)
def test_who_owns_an_object_in_git(found: dict[str, Any], owner: str) -> None:
    assert str(owner_of(found)) == owner
    with pytest.raises(CallError, match="kept as Git says by") as raised:
        refuse_owned(found, "it", "there", overridden=False)
    assert raised.value.code == "gitops_owned"
    refuse_owned(found, "it", "there", overridden=True)


@pytest.mark.parametrize(
    "found",
    [
        owned(),
        owned({"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "web"}),
        # Operators copy annotations to what they make: the id is another object's.
        owned(annotations={TRACKED: "shop-app:apps/Deployment:shop/other"}),
        owned(annotations={TRACKED: "shop-app:apps/StatefulSet:shop/web"}),
        owned({"kustomize.toolkit.fluxcd.io/name": "a"}, {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}),
        owned({"kustomize.toolkit.fluxcd.io/name": "a"}, {"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}),
    ],
)
def test_what_nobody_keeps_in_git(found: dict[str, Any]) -> None:
    assert owner_of(found) is None
    refuse_owned(found, "it", "there", overridden=False)
