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

    When only its status was written between reading and writing, or only a controller wrote, it is read and written
    again. Raises CallError as the cluster does; TEMPORARY `conflict`, naming who, when somebody
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
            writers = _writers(found, newer)
            if not left or _decided(found, newer, writers):
                raise _conflict(newer, writers, error) from None
            found = newer
    raise AssertionError("the loop returns or raises")


def _decided(before: Mapping[str, Any], now: Mapping[str, Any], writers: set[str]) -> bool:
    """Whether somebody has changed what is configured.

    What a controller writes follows from what is configured; it is nobody's decision. The server notes no new time for
    who only gives another value to a field that is its own already: so it is asked whose the changed fields are.
    """
    if writers == {_CONTROLLERS}:
        return False
    changed = _differing(_configured(before), _configured(now))
    return any((_owners(now, path) or writers) != {_CONTROLLERS} for path in changed)


def _differing(before: Any, now: Any, at: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of the fields that are not the same; a list is one field."""
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        return [] if before == now else [at]
    names = sorted({*before, *now})
    return [path for name in names for path in _differing(before.get(name), now.get(name), (*at, name))]


def _owners(now: Mapping[str, Any], path: tuple[str, ...]) -> set[str]:
    """Whose a field is; nobody's when it has gone."""
    entries = now["metadata"].get("managedFields") or ()
    return {str(one.get("manager")) for one in entries if _has(one.get("fieldsV1") or {"": {}}, path)}


def _has(fields: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    """Whether the field is among these: by itself, or within one that is owned as a whole."""
    for name in path:
        if not fields:
            return True
        if f"f:{name}" not in fields:
            return False
        fields = fields[f"f:{name}"]
    return True


def _configured(found: Mapping[str, Any]) -> JsonObject:
    """The object without what its controllers and the server write."""
    own = ("resourceVersion", "managedFields", "generation")
    metadata = {name: value for name, value in found["metadata"].items() if name not in own}
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(REVISION, None)
    metadata["annotations"] = annotations
    return {**{name: value for name, value in found.items() if name != "status"}, "metadata": metadata}


def _writers(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    """Who has written since; nobody where the server does not say."""
    # Whose fields somebody else takes over has another entry too, yet of the old time.
    known = {_written(one) for one in before["metadata"].get("managedFields") or ()}
    fresh = [one for one in now["metadata"].get("managedFields") or () if _written(one) not in known]
    return {str(one.get("manager")) for one in fresh}


def _conflict(now: Mapping[str, Any], writers: set[str], error: CallError) -> CallError:
    who = sorted(writers - {_CONTROLLERS})
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
