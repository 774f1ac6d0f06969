"""What differs between two states of an object, by path, for people; secrets are hidden by the object's type. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from executors.kubernetes.dry_run import Asked
from uici.model.base import JsonObject, JsonValue
from uici.model.masking import MASK
from uici.model.rehearsal import ObjectChange

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""An annotation with the whole object as kubectl last sent it: of a Secret, its values."""
_OF_THE_SERVER = frozenset(
    {"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink", "deletionTimestamp"}
)
_SECRET = frozenset({"data", "stringData"})


def changes_of(asked: Asked) -> Iterator[ObjectChange]:
    """The values that a request would change, field by field; what would go is one change."""
    if asked.refusal is not None:
        return
    if asked.after is None:
        for thing in _each(asked.before or {}):
            yield ObjectChange(object=shown(asked.path, thing), field="", now="present", after=None)
        return
    name = shown(asked.path, asked.after)
    if asked.before is None:
        yield ObjectChange(object=name, field="", now=None, after="present")
    before, after = (without_secrets(_bare(one)) for one in (asked.before or {}, asked.after))
    hidden = set() if asked.before is None else set(_secret_fields(asked.before, asked.after))
    for field, now, then in _different(before, after, ""):
        if asked.before is not None or field not in ("apiVersion", "kind"):
            yield ObjectChange(object=name, field=field, now=now, after=then)
    for field in sorted(hidden):
        yield ObjectChange(object=name, field=field, now=MASK, after=MASK)


def _each(thing: JsonObject) -> list[JsonObject]:
    """The objects of a list, or the one object."""
    if not isinstance(thing.get("items"), list):
        return [thing]
    kind = str(thing.get("kind") or "").removesuffix("List")
    return [{"kind": kind, **item} for item in thing["items"]]


def shown(path: Sequence[str], thing: JsonObject | None) -> str:
    """What a thing is called: `Deployment shop/web`, `Pod shop/web-1`, `Scale of deployments shop/web`."""
    rest = list(path[2:] if path[0] == "api" else path[3:])
    namespace = rest[1] if rest[0] == "namespaces" and len(rest) > 2 else ""
    rest = rest[2:] if namespace else rest
    metadata = (thing or {}).get("metadata") or {}
    name = str(metadata.get("name") or (rest[1] if len(rest) > 1 else ""))
    namespace = str(metadata.get("namespace") or namespace)
    kind = str((thing or {}).get("kind") or rest[0])
    if len(rest) > 2 and kind in ("Scale", rest[0]):
        kind = f"{kind} of {rest[0]}"
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def without_secrets(thing: JsonValue) -> JsonValue:
    """An object, or a list of objects, as it may be shown: a Secret's values hidden, its other fields as they are."""
    if not isinstance(thing, dict):
        return thing
    if isinstance(thing.get("items"), list):
        return {**thing, "items": [without_secrets(item) for item in _each(thing)]}
    if not is_secret(thing):
        return thing
    hidden = {key: {name: MASK for name in thing[key] or {}} for key in _SECRET if key in thing}
    metadata = dict(thing.get("metadata") or {})
    annotations = metadata.get("annotations") or {}
    if LAST_APPLIED in annotations:
        metadata["annotations"] = {**annotations, LAST_APPLIED: MASK}
    return {**thing, **hidden, "metadata": metadata}


def is_secret(thing: Mapping[str, Any]) -> bool:
    """Whether what it holds is secret by its type."""
    return thing.get("kind") == "Secret"


def _secret_fields(before: JsonObject, after: JsonObject) -> Iterator[str]:
    """Fields whose hidden values differ."""
    if not is_secret(after):
        return
    for section in _SECRET:
        old, new = before.get(section) or {}, after.get(section) or {}
        yield from (_below(section, name) for name in old.keys() & new.keys() if old[name] != new[name])


def _bare(thing: JsonObject) -> JsonObject:
    """Without what the server and the controllers write, and without what repeats the rest."""
    metadata = {name: value for name, value in (thing.get("metadata") or {}).items() if name not in _OF_THE_SERVER}
    annotations = {name: value for name, value in (metadata.pop("annotations", None) or {}).items()}
    annotations.pop(LAST_APPLIED, None)
    return {**thing, "metadata": {**metadata, "annotations": annotations}}


def _different(before: JsonValue, after: JsonValue, at: str) -> Iterator[tuple[str, JsonValue, JsonValue]]:
    if before == after:
        return
    old, new = _members(before, after)
    if old is None or new is None or not (old or new):
        yield at, before, after
        return
    for name in [*old, *(name for name in new if name not in old)]:
        yield from _different(old.get(name), new.get(name), _below(at, name, isinstance(before or after, list)))


def _members(
    before: JsonValue, after: JsonValue
) -> tuple[Mapping[str, JsonValue] | None, Mapping[str, JsonValue] | None]:
    """Both by name, where they are objects, or lists whose items have names; nothing, as one is not there, is empty."""
    sides = [side for side in (before, after) if side is not None]
    if all(isinstance(side, dict) for side in sides):
        return before or {}, after or {}
    if all(isinstance(side, list) and side for side in sides) and all(_named(side) for side in sides):
        return _by_name(before), _by_name(after)
    return None, None


def _by_name(items: Sequence[JsonObject] | None) -> dict[str, JsonValue]:
    return {one["name"]: {key: value for key, value in one.items() if key != "name"} for one in items or ()}


def _named(items: Sequence[JsonValue]) -> bool:
    names = [one.get("name") for one in items if isinstance(one, dict)]
    return all(isinstance(name, str) for name in names) and len(set(names)) == len(items)


def _below(at: str, name: str, item: bool = False) -> str:
    if item or "." in name or "/" in name:
        return f"{at}[{name}]"
    return f"{at}.{name}" if at else name
