"""Waiting for a rollout, and giving it up for a reason that people can act on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.revisions import Revision, current, revisions_of
from executors.kubernetes.rollouts import Progress, Trouble, is_ready, progress_of, troubles_of
from executors.kubernetes.watching import changed
from executors.kubernetes.workloads import Workloads, controller
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.3, 5.0
# Of a call's time, for the look that says why its rollout has not ended.
_LAST_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Patience:
    """How long a rollout may take."""

    seconds: float
    stuck_seconds: float
    """How long one of its pods may be stuck: an image that cannot be pulled, a program that ends again and again."""


class Rollouts:
    """The rollouts of one cluster's workloads. All raise CallError."""

    def __init__(self, cluster: Cluster, workloads: Workloads) -> None:
        self._cluster = cluster
        self._workloads = workloads

    def revisions(self, workload: JsonObject, deadline: Deadline) -> list[Revision]:
        """What the workload's controller keeps of its templates, newest first."""
        kind = "ReplicaSet" if workload["kind"] == "Deployment" else "ControllerRevision"
        return revisions_of(self._workloads.owned(workload, kind, deadline))

    def wait(self, workload: JsonObject, patience: Patience, deadline: Deadline) -> Progress:
        """Wait until all pods are of the present template and ready.

        Raises CallError(PERMANENT): `rollout_failed` with the pods' reasons when its controller gives it up or a pod is
        stuck for too long, `rollout_unfinished` when time is over before that. The template stays as it is.
        """
        resource, metadata = self._cluster.resource(workload["kind"]), workload["metadata"]
        until, stuck_since = Deadline(min(patience.seconds, max(0.0, deadline.left() - _LAST_LOOK_SECONDS))), 0.0
        while True:
            present = self._cluster.get(resource, metadata["namespace"], metadata["name"], deadline)
            progress = progress_of(present)
            if progress.done:
                return progress
            troubles = self._troubles(present, deadline)
            stuck = any(trouble.stuck for trouble in troubles)
            now = time.monotonic()
            stuck_since = (stuck_since or now) if stuck else 0.0
            if progress.failed or (stuck and now - stuck_since >= patience.stuck_seconds):
                raise _given_up(present, "rollout_failed", progress, troubles)
            if until.left() == 0:
                raise _given_up(present, "rollout_unfinished", progress, troubles)
            time.sleep(min(_SHORTEST_PAUSE, until.left()))
            # What becomes of the pods shows in the workload's status; why one does not get ready shows in the pod only.
            changed(self._cluster, resource, present, min(_LONGEST_PAUSE, until.left()), deadline)

    def free(self, workload: JsonObject, deadline: Deadline) -> list[str]:
        """Delete the pods of a StatefulSet that are broken and of another template; their names.

        Its controller waits for each pod to get ready before it replaces it, so one that never will keeps the old
        template for ever, and a person would have to delete it.
        """
        if workload["kind"] != "StatefulSet":
            return []
        freed: list[str] = []
        resource = self._cluster.resource("Pod")
        revision = current(workload, self.revisions(workload, deadline))
        for pod in self._workloads.pods(workload, deadline):
            metadata = pod["metadata"]
            if revision is None or is_ready(pod) or metadata.get("deletionTimestamp"):
                continue
            if _is_of(pod, revision, workload):
                continue
            with gone_is_fine():
                self._cluster.delete(resource, metadata["namespace"], metadata["name"], deadline, uid=metadata["uid"])
                freed.append(metadata["name"])
        return freed

    def _troubles(self, workload: JsonObject, deadline: Deadline) -> list[Trouble]:
        revision = current(workload, self.revisions(workload, deadline))
        if revision is None:
            return []
        return troubles_of(pod for pod in self._workloads.pods(workload, deadline) if _is_of(pod, revision, workload))


@contextmanager
def gone_is_fine() -> Iterator[None]:
    """While inside, what has gone already, or another of its name has come, is as good as deleted."""
    try:
        yield
    except CallError as error:
        if error.code not in ("object_not_found", "conflict"):
            raise


def _is_of(pod: JsonObject, revision: Revision, workload: JsonObject) -> bool:
    """Whether the pod was made from this revision of the workload."""
    if workload["kind"] == "Deployment":
        return (controller(pod) or {}).get("name") == revision.name
    hashed = (pod["metadata"].get("labels") or {}).get("controller-revision-hash")
    # A StatefulSet's pods carry the revision's whole name, a DaemonSet's its end.
    return hashed in (revision.name, revision.name.removeprefix(f"{workload['metadata']['name']}-"))


def _given_up(workload: JsonObject, code: str, progress: Progress, troubles: list[Trouble]) -> CallError:
    metadata = workload["metadata"]
    what = f"{workload['kind']} {metadata['name']!r} in namespace {metadata['namespace']!r}"
    why = "; ".join([progress.detail, *dict.fromkeys(str(trouble) for trouble in troubles[:5])])
    return CallError(
        FailureKind.PERMANENT,
        code,
        f"the rollout of {what} does not get ready: {why}. The change stays until it is undone",
        detail={"troubles": [vars(trouble) for trouble in troubles[:20]], "progress": progress.detail},
    )
