"""A workload's revisions, as its controller keeps them, and what UICI notes of its own deployments. Pure.

A Deployment's revisions are its ReplicaSets, those of a StatefulSet or DaemonSet their ControllerRevisions. Undo makes
an old revision the newest one, so "the one before the newest" would then be the one that was just undone. What UICI
changed is therefore noted in an annotation: which revision is the one before, for exactly the present template. When
somebody else has changed the template since, the note says nothing, and the newest other revision is meant, as for
`kubectl rollout undo`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from executors.kubernetes.templates import template_digest
from uici.model.base import canonical_json

NOTE = "uici.io/deployment"
REVISION = "deployment.kubernetes.io/revision"
"""The annotation in which a Deployment's controller counts."""


@dataclass(frozen=True)
class Revision:
    """One template that the workload had or has."""

    name: str
    number: int
    template: Mapping[str, Any] = field(repr=False)

    @property
    def digest(self) -> str:
        """Of what it means."""
        return template_digest(self.template)


@dataclass(frozen=True)
class Note:
    """What UICI remembers of its last change of the template."""

    template: str
    """The digest of the template that it is about."""
    previous: str = ""
    """The name of the revision to go back to; empty when there is none."""
    deployed_at: str = ""
    requests: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Container -> the requests that a lower limit pushed down."""

    def written(self) -> str:
        """As the annotation's value."""
        return canonical_json({name: value for name, value in vars(self).items() if value})


def revisions_of(owned: Iterable[Mapping[str, Any]]) -> list[Revision]:
    """The revisions in the ReplicaSets or ControllerRevisions that a workload owns, newest first."""
    found = []
    for one in owned:
        if one["kind"] == "ControllerRevision":
            template, number = ((one.get("data") or {}).get("spec") or {}).get("template"), one.get("revision")
        else:
            template, number = one["spec"]["template"], (one["metadata"].get("annotations") or {}).get(REVISION)
        if template:
            found.append(Revision(one["metadata"]["name"], int(number or 0), _clean(template)))
    return sorted(found, key=lambda revision: revision.number, reverse=True)


def current(workload: Mapping[str, Any], revisions: Sequence[Revision]) -> Revision | None:
    """The revision of the present template; None when the controller has not made it yet."""
    present = template_digest(workload["spec"]["template"])
    return next((one for one in revisions if one.digest == present), None)


def previous(workload: Mapping[str, Any], revisions: Sequence[Revision]) -> Revision | None:
    """The revision that a rollback brings back; None when there is none."""
    present = template_digest(workload["spec"]["template"])
    note = note_of(workload)
    if note is not None and note.template == present:
        return next((one for one in revisions if one.name == note.previous), None)
    return next((one for one in revisions if one.digest != present), None)


def note_of(workload: Mapping[str, Any]) -> Note | None:
    """What UICI noted; None when it noted nothing, or somebody has made something else of it."""
    written = (workload["metadata"].get("annotations") or {}).get(NOTE)
    try:
        note = Note(**json.loads(written or ""))
    except (ValueError, TypeError):
        return None
    return note


def deployment_of(workload: Mapping[str, Any], revisions: Sequence[Revision], image: str) -> dict[str, str]:
    """What a later deploy needs to bring exactly this back; `image` is the bound container's."""
    template = workload["spec"]["template"]
    now, before, note = current(workload, revisions), previous(workload, revisions), note_of(workload)
    kept = {
        "image": image,
        "revision": now.name if now else "",
        "previous_revision": before.name if before else "",
        "deployed_at": note.deployed_at if note and note.template == template_digest(template) else "",
    }
    return {name: str(value) for name, value in kept.items() if value}


def _clean(template: Mapping[str, Any]) -> dict[str, Any]:
    cleaned = copy.deepcopy(dict(template))
    cleaned.pop("$patch", None)
    labels = (cleaned.get("metadata") or {}).get("labels") or {}
    labels.pop("pod-template-hash", None)
    return cleaned
