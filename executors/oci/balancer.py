"""A backend of an Oracle Cloud load balancer: looked at, drained, taken out, brought back."""

from __future__ import annotations

from executors.deadline import Deadline
from executors.oci.arguments import MAX_WEIGHT, Traffic
from executors.oci.connection import Answer, Cloud, token
from executors.oci.models import build
from executors.oci.settings import Backend
from executors.oci.work import Work
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind, Happened

STATE_RETURNS = {
    "state": "ready (gets traffic), drain (keeps its connections, gets no new ones) or maint (offline, gets none)",
    "weight": f"its share of the traffic while it is ready, 1 to {MAX_WEIGHT}",
    "sessions": "null: the service does not tell",
    "queued": "null: the service does not tell",
    "status": "of its health checks: OK, WARNING, CRITICAL, UNKNOWN",
    "check_status": "of the worst health check result; null without one",
    "check_output": "null: the service does not tell",
    "backend": "the backend set's name",
    "server": "the backend's name",
}
SET_RETURNS = {
    "changed": "whether anything was changed",
    "state": "the new state",
    "weight": "the new weight",
    "previous_state": "the state before",
    "previous_weight": "the weight before",
}


class Balancing:
    """Looks at backends and changes them. All methods raise CallError."""

    def __init__(self, cloud: Cloud, work: Work) -> None:
        self._cloud = cloud
        self._work = work

    def look(self, backend: Backend) -> JsonObject:
        """As get_backend_state reports it."""
        seen: JsonObject = self._seen(backend).data
        place = (backend.load_balancer, backend.backend_set, backend.backend)
        health: JsonObject = self._cloud.ask("balancer", "get_backend_health", *place).data
        worst = [one.get("health_check_status") for one in health.get("health_check_results") or ()]
        return {
            "state": _state(seen).value,
            "weight": seen.get("weight"),
            "sessions": None,
            "queued": None,
            "status": health.get("status") or "UNKNOWN",
            "check_status": next((one for one in worst if one != "OK"), worst[0] if worst else None),
            "check_output": None,
            "backend": backend.backend_set,
            "server": backend.backend,
        }

    def change(self, backend: Backend, state: Traffic, weight: int | None, key: str, deadline: Deadline) -> JsonObject:
        """Make it so, and wait until it is. What is so already is not sent."""
        answer = self._seen(backend)
        seen: JsonObject = answer.data
        before, share = _state(seen), int(seen.get("weight") or 1)
        changed = state is not before or weight not in (None, share)
        if changed:
            wanted = {
                "weight": share if weight is None else weight,
                "backup": bool(seen.get("backup")),
                "drain": state is Traffic.DRAIN,
                "offline": state is Traffic.MAINT,
                "max_connections": seen.get("max_connections"),
            }
            sent = self._cloud.tell(
                "balancer",
                "update_backend",
                build("load_balancer", "UpdateBackendDetails", wanted),
                backend.load_balancer,
                backend.backend_set,
                backend.backend,
                opc_retry_token=token(key, "backend"),
                if_match=answer.etag,
            )
            self._work.done("balancer", sent, f"change {backend}", deadline)
        return {
            "changed": changed,
            "state": state.value,
            "weight": share if weight is None else weight,
            "previous_state": before.value,
            "previous_weight": share,
        }

    def remember(self, backend: Backend) -> JsonObject:
        """What a proof compares with."""
        seen = self._seen(backend).data
        return {"state": _state(seen).value, "weight": seen.get("weight")}

    def prove(self, backend: Backend, state: Traffic, weight: int | None) -> Happened:
        """Whether it is as a change wanted it. NO may be sent again: the same state twice is that state."""
        seen = self._seen(backend).data
        return Happened.YES if _state(seen) is state and weight in (None, seen.get("weight")) else Happened.NO

    def _seen(self, backend: Backend) -> Answer:
        place = (backend.load_balancer, backend.backend_set, backend.backend)
        answer = self._cloud.find("balancer", "get_backend", *place)
        if answer is None:
            raise CallError(
                FailureKind.PERMANENT,
                "backend_not_found",
                f"{self._cloud.where} has no {backend}; correct `backend` in the target's binding",
            )
        return answer


def _state(seen: JsonObject) -> Traffic:
    if seen.get("offline"):
        return Traffic.MAINT
    return Traffic.DRAIN if seen.get("drain") else Traffic.READY
