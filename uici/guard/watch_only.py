"""Targets that are watched and escalated, never acted on."""

from __future__ import annotations

from uici.guard.context import GuardContext, allow, deny
from uici.model.verdict import Decision

GUARD = "watch-only"


def watch_only(context: GuardContext) -> Decision:
    """Deny changes of a target that targets.yml declares `watch_only`, or does not have any more, whoever asks."""
    if context.watch_only is None and context.mutates:
        return deny(GUARD, "not_managed", None, "targets.yml does not bind the target in this environment any more")
    if context.watch_only is not False and context.mutates:
        return deny(GUARD, "watch_only", True, "the target is declared watch_only: people act on it, UICI does not")
    return allow(GUARD, "watch_only", context.watch_only, "the target may be acted on, or the plan only reads")
