"""The simulated cloud: its state, its clock, and what the services share."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

from executors.oci.simulator.orders import Orders
from executors.oci.simulator.refusals import RefusedError, invalid_parameter, not_found
from executors.oci.simulator.serving import STEPS, Call
from executors.oci.simulator.state import Resource, State

REALM = "oc1"
REGION = "us-phoenix-1"
AVAILABILITY_DOMAIN = "UICI:PHX-AD-1"
FAULT_DOMAIN = "FAULT-DOMAIN-1"
_OCID_CHARACTERS = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass
class Cloud:
    """Everything that a service needs to answer. `speed` divides every duration of the simulated cloud."""

    state: State
    speed: float = 20.0
    orders: Orders = field(default_factory=Orders)
    url: str = ""
    """Of the API, as long as it listens."""
    changed: Callable[[], None] = lambda: None
    """Told after anything has changed that is visible outside the API: what runs, what listens."""
    _happening: float | None = None

    def clock(self) -> float:
        """The cloud's time, which `advance` may have put ahead of this machine's.

        While something happens that was due earlier, it is the time at which it was due.
        """
        if self._happening is not None:
            return self._happening
        return datetime.now(UTC).timestamp() + float(self.state.fact("ahead") or 0.0)

    def moment(self, seconds: float = 0.0) -> str:
        """Now (and so many of the cloud's seconds later), as the services write times."""
        return written(self.clock() + seconds)

    def advance(self, seconds: float) -> None:
        """Put the cloud's clock ahead, and let happen what becomes due."""
        self.state.set_fact("ahead", float(self.state.fact("ahead") or 0.0) + seconds)
        self.catch_up()

    def catch_up(self) -> None:
        """Let everything happen that is due, in order, each in its own transaction."""
        happened = False
        while True:
            with self.state.transaction():
                timer = self.state.take_due(self.clock())
                if timer is None:
                    break
                self._happening = timer.due
                try:
                    STEPS[timer.step](self, timer.id, timer.data)
                except RefusedError as refused:
                    # What a step is about may have been forgotten before its turn comes; time goes on for the others.
                    if refused.status != HTTPStatus.NOT_FOUND:
                        raise
                    self.record(None, timer.id, f"{timer.step} came too late: {refused.message}")
                finally:
                    self._happening = None
                happened = True
        if happened:
            self.changed()

    def later(self, seconds: float, step: str, id: str, **data: object) -> None:
        """Let a step happen to a resource after so many seconds of the real service."""
        self.state.schedule(self.clock() + seconds / self.speed, step, id, dict(data))

    def new_id(self, kind: str) -> str:
        """An OCID.

        Its form: https://docs.oracle.com/en-us/iaas/Content/General/Concepts/identifiers.htm
        """
        unique = "".join(secrets.choice(_OCID_CHARACTERS) for _ in range(60))
        return f"ocid1.{kind}.{REALM}.phx.{unique}"

    def need(self, kind: str, id: str) -> Resource:
        """One resource, or the 404 of what is not there and of what may not be seen."""
        found = self.state.get(kind, id)
        if found is None:
            raise not_found(id)
        return found

    def need_compartment(self, id: str | None) -> str:
        """The compartment that a call names, or the answer for one that does not exist."""
        if id is None:
            raise invalid_parameter("compartmentId is required")
        if id != self.tenancy and self.state.get("compartment", id) is None:
            raise not_found(id)
        return id

    def in_compartment(self, kind: str, compartment: str | None) -> list[Resource]:
        """All of one kind in one compartment (not in the compartments below it, as the services do it)."""
        wanted = self.need_compartment(compartment)
        return [resource for resource in self.state.find(kind) if resource.wire.get("compartmentId") == wanted]

    @property
    def tenancy(self) -> str:
        """The tenancy's OCID, which is its root compartment's too."""
        return str(self.state.fact("tenancy"))

    def record(self, call: Call | None, resource: str, effect: str) -> None:
        """Write to the event log what a call changed, or what the cloud changed by itself."""
        request, operation = (call.request_id, call.operation.name) if call else ("", "")
        self.state.record(self.moment(), request, operation, resource, effect)


def written(clock: float) -> str:
    """A moment as the services write it."""
    return datetime.fromtimestamp(clock, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
