"""What the API server itself says that a call would do."""

from __future__ import annotations

import copy
from collections.abc import Callable

from executors.kubernetes.api import RehearsalOverError
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.differences import changes_of, shown
from executors.kubernetes.dry_run import DryRun
from uici.model.call import CallError, FailureKind
from uici.model.rehearsal import Rehearsal

_PASSING = frozenset({"conflict", "disruption_budget"})
"""Refusals that may pass, and that are answers all the same."""


def rehearse(cluster: Cluster, act: Callable[[Cluster], object]) -> Rehearsal:
    """Let `act` work on a cluster where nothing can be changed, and tell what it would have changed.

    Raises CallError when the API server could not be asked.
    """
    dry = DryRun(cluster.api)
    bound = copy.copy(cluster)
    bound.api = dry
    refusal: CallError | None = None
    try:
        act(bound)
    except RehearsalOverError as over:
        if str(over) and not dry.asked:
            raise CallError(FailureKind.PERMANENT, "no_dry_run", str(over)) from None
        dry.warnings += [str(over)] if str(over) else []
    except CallError as error:
        if error.kind is not FailureKind.PERMANENT and error.code not in _PASSING:
            raise
        refusal = error
    passed = [one for one in dry.asked if one.refusal is not None and one.refusal is not refusal]
    return Rehearsal(
        accepted=refusal is None,
        code=refusal.code if refusal else "",
        reason=refusal.message if refusal else "",
        changes=tuple(change for one in dry.asked for change in changes_of(one)),
        warnings=(*dry.warnings, *(f"{shown(one.path, one.before)}: {one.refusal}" for one in passed)),
    )
