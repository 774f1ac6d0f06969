"""Who is calling, for the routes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uici.access.reach import require_place
from uici.access.roles import Principal
from uici.model.base import JsonObject
from uici.model.scope import Scope

if TYPE_CHECKING:
    from uici.runs.control import Control


@dataclass(frozen=True)
class Caller:
    """A principal, and whether the credential that proved it still holds."""

    principal: Principal
    still_valid: Callable[[], bool]
    """May read the state: to be called in a thread."""

    @property
    def actor(self) -> str:
        """How this caller is recorded."""
        return self.principal.actor

    @property
    def scope(self) -> Scope:
        """What this caller may touch."""
        return self.principal.scope

    def at(self, place: tuple[str | None, str | None]) -> None:
        """Raises Problem where this environment and target are not within the scope."""
        require_place(self.scope, *place)

    def at_run(self, control: Control, run_id: str) -> None:
        """Raises Problem where the run is not within the scope, or where there is none."""
        if not self.scope.everywhere:
            self.at(control.place_of(run=run_id))

    def at_incident(self, control: Control, incident_id: str) -> None:
        """Raises Problem where the incident is not within the scope, or where there is none."""
        if not self.scope.everywhere:
            self.at(control.place_of(incident=incident_id))

    def shown(self, document: JsonObject) -> JsonObject:
        """A document with `environment` and `target`, when these are within the scope. Raises Problem."""
        self.at((document["environment"], document["target"]))
        return document
