"""Changes of a workload's pod template: dict in, dict out, and the smallest patch that makes one of the other. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from executors.kubernetes.quantities import worth, written_bytes, written_cores
from uici.model.base import JsonObject, JsonValue, digest
from uici.model.call import CallError, FailureKind

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
# Marks that controllers put on the templates which they keep.
_OF_REVISIONS = ("pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name")
Requests = dict[str, str]
"""Resource -> the request that a lower limit had to push down."""


def with_image(template: Mapping[str, Any], container: str, image: str) -> dict[str, Any]:
    """The template with another image in the container of that name."""
    changed = copy.deepcopy(dict(template))
    _named(changed, container)["image"] = image
    return changed


def literals(container: Mapping[str, Any]) -> dict[str, str]:
    """The variables that the container's definition holds itself; what comes from a Secret or ConfigMap is left out."""
    return {one["name"]: str(one.get("value", "")) for one in container.get("env") or () if "valueFrom" not in one}


def with_environment(
    template: Mapping[str, Any], container: str, set_to: Mapping[str, str], remove: Sequence[str], where: str
) -> dict[str, Any]:
    """The template with variables set and removed; a variable that is set as well as removed is set.

    Raises CallError(PERMANENT, `env_from_reference`) for a variable whose value comes from somewhere else: undo could
    not bring that reference back, and its value is none of UICI's business.
    """
    changed = copy.deepcopy(dict(template))
    found = _named(changed, container)
    entries: list[dict[str, Any]] = found.get("env") or []
    gone = {name for name in remove if name not in set_to}
    referring = sorted(
        one["name"] for one in entries if "valueFrom" in one and (one["name"] in set_to or one["name"] in gone)
    )
    if referring:
        raise CallError(
            FailureKind.PERMANENT,
            "env_from_reference",
            f"{', '.join(referring)} of container {container!r} of {where} takes its value from a Secret, a ConfigMap "
            "or a field (valueFrom); nothing was changed. Change what it refers to, then restart the service",
        )
    kept = [
        {**one, "value": set_to[one["name"]]} if one["name"] in set_to else one
        for one in entries
        if one["name"] not in gone
    ]
    have = {one["name"] for one in entries}
    new = [{"name": name, "value": value} for name, value in set_to.items() if name not in have]
    # $(NAME) in a value means only variables that stand before it.
    referred = [one for one in new if "$(" not in one["value"]]
    env = [*referred, *kept, *(one for one in new if "$(" in one["value"])]
    if env:
        found["env"] = env
    else:
        found.pop("env", None)
    return changed


def with_resources(
    template: Mapping[str, Any],
    container: str,
    cpus: float | None,
    memory_bytes: int | None,
    pushed_down: Mapping[str, str],
) -> tuple[dict[str, Any], Requests]:
    """The template with other limits, and the requests that the limits now push down. 0 lifts a limit.

    A request that equals its limit follows it, so that a pod keeps its quality of service. Another request stays,
    except that none may be above its limit; what a lower limit pushed down comes back with a higher one.
    """
    changed = copy.deepcopy(dict(template))
    found = _named(changed, container)
    resources = copy.deepcopy(found.get("resources") or {})
    limits, requests = dict(resources.get("limits") or {}), dict(resources.get("requests") or {})
    down = dict(pushed_down)
    wanted = {
        "cpu": None if cpus is None else (written_cores(cpus) if cpus else ""),
        "memory": None if memory_bytes is None else (written_bytes(memory_bytes) if memory_bytes else ""),
    }
    for name, limit in wanted.items():
        if limit is not None:
            _limit(name, limit, limits, requests, down)
    for section, values in (("limits", limits), ("requests", requests)):
        if values:
            resources[section] = values
        else:
            resources.pop(section, None)
    found["resources"] = resources
    return changed, down


def _limit(name: str, limit: str, limits: dict[str, str], requests: dict[str, str], down: dict[str, str]) -> None:
    old, request = limits.get(name), down.get(name, requests.get(name))
    follows = name not in down and old is not None and request is not None and worth(old) == worth(request)
    if not limit:
        limits.pop(name, None)
        if name in down:
            requests[name] = down.pop(name)
        return
    limits[name] = old if old is not None and worth(old) == worth(limit) else limit
    if request is None:
        return
    if follows:
        requests[name] = limits[name]
    elif worth(request) > worth(limit):
        down[name] = request
        requests[name] = limits[name]
    else:
        requests[name] = request
        down.pop(name, None)


def meant(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template without the marks of controllers and of restarts: what makes it another version."""
    bare = copy.deepcopy(dict(template))
    metadata = bare.get("metadata") or {}
    for section, marks in (("labels", _OF_REVISIONS), ("annotations", (RESTARTED_AT,))):
        values = {name: value for name, value in (metadata.get(section) or {}).items() if name not in marks}
        if values:
            metadata[section] = values
        else:
            metadata.pop(section, None)
    metadata.pop("creationTimestamp", None)
    bare["metadata"] = metadata
    return bare


def template_digest(template: Mapping[str, Any]) -> str:
    """The same for two templates that mean the same; short, since it is kept in an annotation."""
    return digest(meant(template)).removeprefix("sha256:")[:16]


def merge_patch(old: JsonValue, new: JsonValue) -> JsonObject:
    """The JSON merge patch (RFC 7386) that makes `new` of `old`; empty when they are alike. Lists change as a whole."""
    patch: JsonObject = {}
    for name in {**old, **new}:
        if name not in new:
            patch[name] = None
        elif name in old and isinstance(old[name], dict) and isinstance(new[name], dict):
            inner = merge_patch(old[name], new[name])
            if inner:
                patch[name] = inner
        elif name not in old or old[name] != new[name]:
            patch[name] = new[name]
    return patch


def _named(template: dict[str, Any], container: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in template["spec"]["containers"] if one["name"] == container)
    return found
