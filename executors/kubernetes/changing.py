"""Changing an object that others change too: read, change, write, guarded by its resourceVersion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.discovery import Resource
from executors.kubernetes.revisions import REVISION
from executors.kubernetes.templates import merge_patch
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

Change = Callable[[JsonObject], JsonObject]
"""Object -> the object as it is wanted; may raise CallError to refuse."""
_TRIES = 5
_CONTROLLERS = "kube-controller-manager"


@dataclass(frozen=True)
class Changed:
    """What a change did."""

    before: JsonObject = field(repr=False)
    after: JsonObject = field(repr=False)
    changed: bool


def change(
    cluster: Cluster, resource: Resource, namespace: str | None, name: str, how: Change, deadline: Deadline
) -> Changed:
    """Make the object what `how` makes of it; nothing is sent when it is so already.

    When only its status was written between reading and writing, it is read and written again: nothing that `how`
    looked at is another now. Raises CallError as the cluster does; TEMPORARY `conflict`, naming who, when somebody
    else has changed more than that.
    """
    found = cluster.get(resource, namespace, name, deadline)
    for left in reversed(range(_TRIES)):
        body = merge_patch(found, how(found))
        if not body:
            return Changed(found, found, changed=False)
        body.setdefault("metadata", {})["resourceVersion"] = found["metadata"]["resourceVersion"]
        try:
            return Changed(found, cluster.patch(resource, namespace, name, body, deadline), changed=True)
        except CallError as error:
            if error.code != "conflict":
                raise
            newer = cluster.get(resource, namespace, name, deadline)
            if not left or _configured(newer) != _configured(found):
                raise _conflict(found, newer, error) from None
            found = newer
    raise AssertionError("the loop returns or raises")


def _configured(found: Mapping[str, Any]) -> JsonObject:
    """The object without what its controllers and the server write."""
    own = ("resourceVersion", "managedFields", "generation")
    metadata = {name: value for name, value in found["metadata"].items() if name not in own}
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(REVISION, None)
    metadata["annotations"] = annotations
    return {**{name: value for name, value in found.items() if name != "status"}, "metadata": metadata}


def _conflict(before: Mapping[str, Any], now: Mapping[str, Any], error: CallError) -> CallError:
    # Whose fields somebody else takes over has another entry too, yet of the old time.
    known = {_written(one) for one in before["metadata"].get("managedFields") or ()}
    fresh = [one for one in now["metadata"].get("managedFields") or () if _written(one) not in known]
    who = sorted({str(one.get("manager")) for one in fresh if one.get("manager") != _CONTROLLERS})
    named = f" by {', '.join(who)}" if who else ""
    return CallError(
        FailureKind.TEMPORARY,
        "conflict",
        f"{now.get('kind', 'the object')} {now['metadata']['name']!r} was changed{named} between reading and writing; "
        "nothing was written. Look again, then decide again",
        detail=error.detail,
    )


def _written(entry: Mapping[str, Any]) -> tuple[object, ...]:
    return entry.get("manager"), entry.get("operation"), entry.get("time")
