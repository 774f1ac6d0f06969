"""The number of a workload's pods where a HorizontalPodAutoscaler sets it. Decisions pure, the look apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from executors.deadline import Deadline
from executors.kubernetes.cluster import Cluster
from uici.model.base import JsonObject, canonical_json
from uici.model.call import CallError, FailureKind

BOUNDS_NOTE = "uici.io/bounds"
"""On an autoscaler whose bounds UICI has widened: what they were, and what it made of them."""


@dataclass(frozen=True)
class Bounds:
    """Between which numbers an autoscaler keeps the replicas."""

    least: int
    most: int

    def hold(self, replicas: int) -> bool:
        """Whether the number is allowed."""
        return self.least <= replicas <= self.most

    def widened(self, replicas: int) -> Bounds:
        """The narrowest bounds that hold these and the number."""
        return Bounds(min(self.least, replicas), max(self.most, replicas))


def autoscaler_of(cluster: Cluster, kind: str, namespace: str, name: str, deadline: Deadline) -> JsonObject | None:
    """The autoscaler that sets the workload's number; None when nobody does."""
    resource = cluster.resource("HorizontalPodAutoscaler")
    for one in cluster.list(resource, namespace, deadline=deadline):
        scaled = one["spec"].get("scaleTargetRef") or {}
        if (scaled.get("kind"), scaled.get("name")) == (kind, name):
            return one
    return None


def bounds_of(autoscaler: Mapping[str, Any]) -> Bounds:
    """As they are."""
    spec = autoscaler["spec"]
    least = spec.get("minReplicas")
    return Bounds(1 if least is None else int(least), int(spec["maxReplicas"]))


def bounds_for(autoscaler: Mapping[str, Any], replicas: int) -> Bounds:
    """The bounds with which this number may be: those that people gave, wherever they hold it."""
    return _given(autoscaler).widened(replicas)


def rebounded(autoscaler: JsonObject, replicas: int) -> JsonObject:
    """The autoscaler as it should be for this number; what people gave comes back as soon as it holds the number."""
    given, wanted = _given(autoscaler), bounds_for(autoscaler, replicas)
    metadata, spec = dict(autoscaler["metadata"]), dict(autoscaler["spec"])
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(BOUNDS_NOTE, None)
    if wanted != given:
        annotations[BOUNDS_NOTE] = canonical_json({"given": vars(given), "set": vars(wanted)})
    if annotations or "annotations" in metadata:
        metadata["annotations"] = annotations
    present = bounds_of(autoscaler)
    if wanted.least != present.least:
        spec["minReplicas"] = wanted.least
    if wanted.most != present.most:
        spec["maxReplicas"] = wanted.most
    return {**autoscaler, "metadata": metadata, "spec": spec}


def refuse_bounded(autoscaler: Mapping[str, Any], replicas: int, where: str, *, adjustable: bool) -> None:
    """Raise CallError(PERMANENT) when the autoscaler's bounds do not allow the number and may not be changed."""
    bounds, name = bounds_of(autoscaler), autoscaler["metadata"]["name"]
    if bounds_for(autoscaler, replicas) == bounds:
        return
    owner = next((one for one in autoscaler["metadata"].get("ownerReferences") or () if one.get("controller")), None)
    if owner is not None:
        raise CallError(
            FailureKind.PERMANENT,
            "autoscaler_owned",
            f"{where} is scaled by HorizontalPodAutoscaler {name!r} between {bounds.least} and {bounds.most}, which "
            f"{owner['kind']} {owner['name']!r} keeps as it says; nothing was changed. Change the bounds there",
        )
    if not adjustable:
        raise CallError(
            FailureKind.PERMANENT,
            "autoscaler_bounds",
            f"{where} is scaled by HorizontalPodAutoscaler {name!r} between {bounds.least} and {bounds.most}, so it "
            f"would not stay at {replicas}; nothing was changed. Ask for a number within these bounds, change them, or "
            "say `autoscaler: adjust` in the target's binding to let UICI do that",
        )


def _given(autoscaler: Mapping[str, Any]) -> Bounds:
    """The bounds that people gave: the present ones, unless UICI has made them out of others."""
    present = bounds_of(autoscaler)
    try:
        note = json.loads((autoscaler["metadata"].get("annotations") or {}).get(BOUNDS_NOTE) or "")
        return Bounds(**note["given"]) if Bounds(**note["set"]) == present else present
    except (ValueError, TypeError, KeyError):
        return present
