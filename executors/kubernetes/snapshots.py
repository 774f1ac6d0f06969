"""What else a snapshot shows of pods: their processes, and what the cluster says of each."""

from __future__ import annotations

from collections.abc import Sequence

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from executors.snapshot import MAX_PROCESSES, shown_command
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

_PS = ("ps", "-o", "pid,ppid,user,stat,args")
_COLUMNS = ("pid", "parent", "user", "state")
_MAX_PODS = 20


def processes_of(cluster: Cluster, pod: JsonObject, container: str, deadline: Deadline) -> list[JsonObject]:
    """The processes of one container, by its own `ps`: the API tells none. Raises CallError when it has no `ps`."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    output = cluster.exec(namespace, name, container, _PS, deadline, limit=262_144, mutates=False)
    if output.exit_code != 0:
        raise CallError(
            FailureKind.PERMANENT, "processes_unseen", f"`ps` in pod {name!r} ended with exit code {output.exit_code}"
        )
    found: list[JsonObject] = []
    for line in output.content.decode("utf-8", "replace").splitlines()[1:]:
        words = line.split()
        if len(words) > len(_COLUMNS):
            row = dict(zip(_COLUMNS, words, strict=False))
            found.append({"instance": name, **row, "command": shown_command(words[len(_COLUMNS) :])})
    return found[:MAX_PROCESSES]


def details_of(pods: Sequence[JsonObject]) -> list[JsonObject]:
    """Of each pod: where it runs, its conditions, its containers' states, limits and volumes."""
    return [_details(pod) for pod in pods[-_MAX_PODS:]]


def _details(pod: JsonObject) -> JsonObject:
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    return {
        "id": metadata["uid"],
        "name": metadata["name"],
        "created": metadata["creationTimestamp"],
        "labels": metadata.get("labels") or {},
        "owners": [f"{one['kind']}/{one['name']}" for one in metadata.get("ownerReferences") or ()],
        "node": spec.get("nodeName"),
        "address": status.get("podIP"),
        "phase": status.get("phase"),
        "reason": status.get("reason"),
        "conditions": [
            {key: one.get(key) for key in ("type", "status", "reason", "message")}
            for one in status.get("conditions") or ()
        ],
        "containers": [
            {
                "name": one["name"],
                "image": one.get("image"),
                "image_id": one.get("imageID"),
                "state": one.get("state"),
                "last_state": one.get("lastState"),
                "restarts": one.get("restartCount"),
            }
            for one in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
        ],
        "limits": {one["name"]: one.get("resources") or {} for one in spec["containers"]},
        "volumes": [
            {"name": one["name"], "kind": next((key for key in one if key != "name"), None)}
            for one in spec.get("volumes") or ()
        ],
        "restart_policy": spec.get("restartPolicy"),
        "host_network": bool(spec.get("hostNetwork")),
    }
