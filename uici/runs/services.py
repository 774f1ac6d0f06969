"""What the stages work with, handed to each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from uici.events.log import EventLog
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.site import Site
from uici.ports import Clock
from uici.runs.data import RunData
from uici.runs.pinning import Pins
from uici.runs.platforms import Platforms
from uici.store.database import Store


@dataclass(frozen=True)
class Services:
    """The collaborators of a run. `site` gives the configuration in force now, which may change between two calls;
    `platforms` looks through it, `platforms_of` through the one that a run was begun with.
    """

    store: Store
    events: EventLog
    clock: Clock
    site: Callable[[], Site]
    platforms: Platforms
    pins: Pins
    identity: SelfIdentity
    layers: SelfGuardLayers
    wake: Callable[[], None]
    """Tell the ticker that a waiting run may be due."""

    def platforms_of(self, run: RunData) -> Platforms:
        """The platforms as this run sees them, whatever was loaded since it began to look."""
        if run.catalogue is None or run.target is None or run.target_spec is None:
            return self.platforms
        part = self.pins.part(run.catalogue)
        return self.platforms.seen_through(part.model_copy(update={"targets": {run.target: run.target_spec}}))

    def note(self, connection: Connection, run: RunData, type_: str, **more: object) -> None:
        """Add an event of the run to the transaction."""
        self.events.append(
            connection,
            type_,
            incident=run.incident_id,
            run=run.run_id,
            environment=run.environment,
            target=run.target,
            **more,
        )

    def note_alone(self, run: RunData, type_: str, **more: object) -> None:
        """Add an event of the run in a transaction of its own."""
        with self.events.writing() as connection:
            self.note(connection, run, type_, **more)
