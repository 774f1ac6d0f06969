"""Small sites, alerts and prepared plans for tests of the pure rooms."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from uici.model.alert import Alert, AlertStatus
from uici.model.call import Call, Risk
from uici.model.operation import Operation
from uici.model.plan import Origin, Plan, PreparedPlan, PreparedStep, Step
from uici.model.site import Site

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def alert(**labels: str) -> Alert:
    return Alert(
        fingerprint="00", status=AlertStatus.FIRING, labels=labels, annotations={}, starts_at=NOW, ends_at=None,
        generator_url="",
    )  # fmt: skip


def operation(name: str, *, mutates: bool, risk: Risk = Risk.LOW, **more: Any) -> Operation:
    fixed = {"reversible": False, "irreversible_because": "it is only a test"} if mutates else {}
    return Operation(
        name=name, summary=f"the verb {name}", risk=risk, mutates=mutates, source="t:1", **{**fixed, **more}
    )


def site(**changes: Any) -> Site:
    document: dict[str, Any] = {
        "platform": {},
        "default_environment": "local",
        "environments": {"local": {"platform": "local"}},
        "targeting": {},
        "targets": {},
        "operations": {
            "get_service_status": operation("get_service_status", mutates=False),
            "restart_service": operation("restart_service", mutates=True, risk=Risk.MEDIUM),
            "scale_service": operation(
                "scale_service",
                mutates=True,
                parameters={"replicas": {"type": "integer", "minimum": 0}, "note": {"type": "string"}},
                required=("replicas",),
            ),
        },
        "findings": {},
        "strategies": {},
        "policies": {},
    }
    return Site.model_validate({**document, **changes})


def prepared(
    *,
    mutates: bool = True,
    risk: Risk = Risk.LOW,
    origin: Origin = Origin.RULE,
    target: str = "web",
    binding: dict[str, Any] | None = None,
    strategy: str | None = None,
    remedy: str | None = None,
) -> PreparedPlan:
    verb = operation("restart_service" if mutates else "get_service_status", mutates=mutates, risk=risk)
    step = Step(operation=verb.name, target=target)
    bound = binding if binding is not None else {"program": target}
    call = Call(
        id="call", name="program.restart", arguments={"target": bound}, mutates=mutates, risk=risk, timeout_seconds=5,
        in_flight_seconds=5, provable=True,
    )  # fmt: skip
    return PreparedPlan(
        plan=Plan(environment="local", steps=(step,), origin=origin, reason="a test", strategy=strategy, remedy=remedy),
        steps=(
            PreparedStep(
                step=step, operation=verb, binding=bound, calls=(call,), result=None, risk=risk, undo="nothing"
            ),
        ),
    )
