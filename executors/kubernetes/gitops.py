"""Who keeps an object's configuration in Git, told from the marks that Argo CD and Flux leave on it. Pure.

Such an owner sets back, within minutes, what somebody else changes of the fields that Git holds. A change there is a
fight that nobody wins, and it hides from people that Git is what must be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from uici.model.call import CallError, FailureKind

GITOPS_OWNED = "gitops_owned"
_ARGO_TRACKING = "argocd.argoproj.io/tracking-id"
_ARGO_INSTANCE = "argocd.argoproj.io/instance"
_ARGO_HOOK = "argocd.argoproj.io/hook"
_ALSO_HELM = "app.kubernetes.io/instance"
"""What Argo CD tracks by unless told otherwise; Helm sets it too, so it proves no owner."""
_FLUX = {"kustomize.toolkit.fluxcd.io": "Kustomization", "helm.toolkit.fluxcd.io": "HelmRelease"}
_FLUX_LEAVES_ALONE = {
    ("kustomize.toolkit.fluxcd.io/reconcile", "disabled"),
    ("kustomize.toolkit.fluxcd.io/ssa", "Ignore"),
    ("kustomize.toolkit.fluxcd.io/ssa", "IfNotPresent"),
}


@dataclass(frozen=True)
class Owner:
    """What keeps an object as Git says."""

    tool: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.tool} ({self.kind} {self.name})"


def owner_of(found: Mapping[str, Any]) -> Owner | None:
    """Who owns the object's configuration; None when no GitOps tool does, or was told to leave this object alone."""
    metadata = found.get("metadata") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    tracking = str(annotations.get(_ARGO_TRACKING) or "")
    if tracking and _tracks(tracking, found):
        return Owner("Argo CD", "Application", tracking.split(":", 1)[0])
    instance = labels.get(_ARGO_INSTANCE) or annotations.get(_ARGO_INSTANCE)
    if instance:
        return Owner("Argo CD", "Application", str(instance))
    if any(annotations.get(mark) == value for mark, value in _FLUX_LEAVES_ALONE):
        return None
    for group, kind in _FLUX.items():
        name = labels.get(f"{group}/name")
        if name:
            namespace = labels.get(f"{group}/namespace")
            return Owner("Flux", kind, f"{namespace}/{name}" if namespace else str(name))
    return None


def refuse_owned(found: Mapping[str, Any], what: str, where: str, *, overridden: bool) -> None:
    """Raise CallError(PERMANENT, `gitops_owned`) for an object whose configuration is kept in Git."""
    owner = None if overridden else owner_of(found)
    if owner is None:
        return
    raise CallError(
        FailureKind.PERMANENT,
        GITOPS_OWNED,
        f"{what} on {where} is kept as Git says by {owner}, which would set a change back; nothing was changed. Change "
        "it in Git, or suspend the owner, or say `gitops: override` in the target's binding",
        detail={"owner": str(owner)},
    )


def refuse_hook(found: Mapping[str, Any], what: str, where: str, *, overridden: bool) -> None:
    """Raise CallError(PERMANENT, `gitops_owned`) for a Job that a sync of Argo CD makes, in its order.

    Another Job is made anew: nothing that Git holds is changed by that, so its owner alone is no reason to refuse.
    """
    if overridden or _ARGO_HOOK not in ((found.get("metadata") or {}).get("annotations") or {}):
        return
    raise CallError(
        FailureKind.PERMANENT,
        GITOPS_OWNED,
        f"{what} on {where} is a hook of a sync of Argo CD, which runs it in its order; nothing was changed. Sync the "
        "Application again, or say `gitops: override` in the target's binding",
    )


def unmarked(labels: Mapping[str, Any]) -> dict[str, Any]:
    """The labels of a copy: with the owner's own on it, it would be pruned as something that Git does not have."""
    marks = {_ARGO_INSTANCE, _ALSO_HELM, *(f"{group}/{part}" for group in _FLUX for part in ("name", "namespace"))}
    return {name: value for name, value in labels.items() if name not in marks}


def _tracks(tracking: str, found: Mapping[str, Any]) -> bool:
    """Whether a tracking id, `app:group/Kind:namespace/name`, means this very object: operators copy annotations."""
    parts = tracking.split(":")
    if len(parts) != 3:
        return True
    kind, name = parts[1].rpartition("/")[2], parts[2].rpartition("/")[2]
    return (kind, name) == (found.get("kind", kind), (found.get("metadata") or {}).get("name"))
