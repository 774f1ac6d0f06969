"""What else a snapshot shows of pods: what the cluster says of each."""

from __future__ import annotations

from collections.abc import Sequence

from uici.model.base import JsonObject

_MAX_PODS = 20


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
