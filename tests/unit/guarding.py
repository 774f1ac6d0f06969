"""A context in which every guard allows; each test changes what it is about."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.unit.sites import NOW, prepared
from uici.guard.context import GuardContext, MassFailure
from uici.model.call import Risk
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.learning import Veto
from uici.model.plan import Origin
from uici.model.policies import (
    ApprovalPolicy,
    BlastRadiusPolicy,
    CooldownPolicy,
    DependencyPolicy,
    GiveUpPolicy,
    MassFailurePolicy,
    RiskPolicy,
)
from uici.model.site import Autonomy, PoliciesFile

PARTS: dict[str, Any] = {
    "risk": RiskPolicy,
    "cooldown": CooldownPolicy,
    "give_up": GiveUpPolicy,
    "blast_radius": BlastRadiusPolicy,
    "dependencies": DependencyPolicy,
    "mass_failure": MassFailurePolicy,
    "approval": ApprovalPolicy,
}
VETO = Veto(id="veto_1", strategy="down", remedy="restart", actor="ann", reason="it loses the queue", at=NOW)
CALM = MassFailure(failing=1, targets=10, engaged=False)
ABSURD: tuple[Any, ...] = (None, -1, float("nan"), float("inf"), -float("inf"), True, "5")


def policies(council_autonomy: Any = Autonomy.AUTO, **parts: dict[str, Any]) -> PoliciesFile:
    """Policies whose values are not validated: a guard must not rely on the loader having done so."""
    usual: dict[str, dict[str, Any]] = {
        "risk": {"auto_approve_up_to": Risk.MEDIUM},
        "cooldown": {"seconds": 60.0},
        "give_up": {"ineffective_runs": 3, "within_seconds": 3600.0},
        "blast_radius": {"min_healthy": 0.5, "max_concurrent": 2, "max_per_hour": 10},
        "dependencies": {"correlation_seconds": 10.0, "wait_seconds": 600.0, "recover_seconds": 30.0},
        "mass_failure": {
            "share": 0.5,
            "at_least": 4,
            "within_seconds": 60.0,
            "release_share": 0.2,
            "release_seconds": 30.0,
        },
        "approval": {"expires_seconds": 60.0},
    }
    return PoliciesFile.model_construct(
        autonomy=None,
        council_autonomy=council_autonomy,
        **{name: PARTS[name].model_construct(**{**usual[name], **parts.get(name, {})}) for name in PARTS},
    )


def context(**changes: Any) -> GuardContext:
    usual: dict[str, Any] = {
        "plan": prepared(),
        "policies": policies(),
        "autonomy": Autonomy.AUTO,
        "watch_only": False,
        "now": NOW,
        "origin": Origin.RULE,
        "identity": SelfIdentity(names=frozenset({"uici"})),
        "layers": SelfGuardLayers(),
        "frozen": None,
        "freeze_known": True,
        "vetoes": (),
        "holder": None,
        "last_run_ended": NOW - timedelta(hours=1),
        "ineffective_runs": 0,
        "group_members": 2,
        "group_healthy": 2,
        "acting": 0,
        "hindrance": None,
        "dependencies_known": True,
        "mass_failure": CALM,
        "started_last_hour": 0,
    }
    return GuardContext(**{**usual, **changes})


def by_human(**changes: Any) -> GuardContext:
    return context(**{"plan": prepared(origin=Origin.HUMAN), "origin": Origin.HUMAN, **changes})
