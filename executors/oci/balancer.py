"""A backend of an Oracle Cloud load balancer: looked at, drained, taken out, brought back."""

from __future__ import annotations

from executors.deadline import Deadline
from executors.oci.arguments import MAX_WEIGHT, Traffic
from executors.oci.connection import Answer, Cloud, token
from executors.oci.facts import Facts
from executors.oci.lookup import Lookup
from executors.oci.models import build
from executors.oci.possible import backend_of
from executors.oci.settings import Backend, OciBinding
from executors.oci.work import Work, each
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind, Happened

_LEAST_FIRST = (Traffic.MAINT, Traffic.DRAIN, Traffic.READY)
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

    def __init__(self, cloud: Cloud, lookup: Lookup, work: Work) -> None:
        self._cloud = cloud
        self._lookup = lookup
        self._work = work

    def look(self, binding: OciBinding) -> JsonObject:
        """As get_backend_state reports it; of several the one that gets the least traffic."""
        backend = backend_of(binding)
        found = [(name, self._seen(backend, name).data) for name in self._names(binding)]
        name, seen = min(found, key=lambda one: _LEAST_FIRST.index(_state(one[1])))
        place = (backend.load_balancer, backend.backend_set, name)
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
            "server": name,
        }

    def change(
        self, binding: OciBinding, state: Traffic, weight: int | None, key: str, deadline: Deadline
    ) -> JsonObject:
        """Make all of them so, and wait until they are. What is so already is not sent."""
        backend, before = backend_of(binding), self.remember(binding)

        def act(name: str) -> bool:
            answer = self._seen(backend, name)
            seen: JsonObject = answer.data
            share = int(seen.get("weight") or 1)
            if _state(seen) is state and weight in (None, share):
                return False
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
                name,
                opc_retry_token=token(key, f"backend/{name}"),
                if_match=answer.etag,
            )
            self._work.done("balancer", sent, f"change {name} of {backend}", deadline)
            return True

        changed = any(each(self._names(binding), act))
        return {
            "changed": changed,
            "state": state.value,
            "weight": before["weight"] if weight is None else weight,
            "previous_state": before["state"],
            "previous_weight": before["weight"],
        }

    def remember(self, binding: OciBinding) -> JsonObject:
        """What a proof compares with, and what was before a change."""
        found = [self._seen(backend_of(binding), name).data for name in self._names(binding)]
        seen = min(found, key=lambda one: _LEAST_FIRST.index(_state(one)))
        return {"state": _state(seen).value, "weight": int(seen.get("weight") or 1)}

    def prove(self, binding: OciBinding, state: Traffic, weight: int | None) -> Happened:
        """Whether all are as a change wanted them. NO may be sent again: the same state twice is that state."""
        found = [self._seen(backend_of(binding), name).data for name in self._names(binding)]
        so = all(_state(seen) is state and weight in (None, seen.get("weight")) for seen in found)
        return Happened.YES if so else Happened.NO

    def join(self, binding: OciBinding, one: Facts, like: Facts, deadline: Deadline) -> None:
        """Let a new instance have the traffic that `like` has; nothing where that has none of its own."""
        backend = binding.backend
        if backend is None or backend.port is None:
            return
        model, address = self._find(backend, self._name(backend, like)), self._lookup.address(one)
        if model is None or address is None or self._find(backend, self._name(backend, one)) is not None:
            return
        kept = ("weight", "backup", "drain", "offline", "max_connections")
        wanted = {"ip_address": address, "port": backend.port, **{name: model.data.get(name) for name in kept}}
        details = build("load_balancer", "CreateBackendDetails", wanted)
        sent = self._cloud.tell("balancer", "create_backend", details, backend.load_balancer, backend.backend_set)
        self._work.done("balancer", sent, f"let {one.name!r} join {backend}", deadline)

    def leave(self, binding: OciBinding, one: Facts, deadline: Deadline) -> None:
        """Take an instance that goes away out of the backend set."""
        backend = binding.backend
        if backend is None or backend.port is None:
            return
        name = self._name(backend, one)
        if self._find(backend, name) is not None:
            sent = self._cloud.tell("balancer", "delete_backend", backend.load_balancer, backend.backend_set, name)
            self._work.done("balancer", sent, f"let {one.name!r} leave {backend}", deadline)

    def _names(self, binding: OciBinding) -> list[str]:
        backend, members = backend_of(binding), self._lookup.members(binding)
        if backend.backend is not None:
            return [backend.backend]
        if not members:
            raise self._lookup.missing(binding)
        return [self._name(backend, one) for one in members]

    def _name(self, backend: Backend, one: Facts) -> str:
        return f"{self._lookup.address(one)}:{backend.port}"

    def _find(self, backend: Backend, name: str) -> Answer | None:
        return self._cloud.find("balancer", "get_backend", backend.load_balancer, backend.backend_set, name)

    def _seen(self, backend: Backend, name: str) -> Answer:
        answer = self._find(backend, name)
        if answer is None:
            raise CallError(
                FailureKind.PERMANENT,
                "backend_not_found",
                f"{self._cloud.where} has no backend {name} of {backend}; correct `backend` in the target's binding",
            )
        return answer


def _state(seen: JsonObject) -> Traffic:
    if seen.get("offline"):
        return Traffic.MAINT
    return Traffic.DRAIN if seen.get("drain") else Traffic.READY
