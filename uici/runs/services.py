"""What the stages work with, handed to each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import Connection

from uici.events.log import EventLog
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.plan import PreparedPlan
from uici.model.site import Site
from uici.ports import Clock
from uici.runs import records
from uici.runs.brakes import Brakes
from uici.runs.data import RunData
from uici.runs.pinning import Pins
from uici.runs.platforms import Platforms
from uici.runs.questions import Questions
from uici.runs.workers import Workers
from uici.store.database import Store


@dataclass(frozen=True)
class Draft:
    """What is written with the next transaction of a run's part."""

    run_id: str
    part: int
    writes: list[Callable[[Connection], object]] = field(default_factory=list)
    plans: dict[str, PreparedPlan] = field(default_factory=dict)
    """Plans among it, by `cid`."""


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
    selves: Callable[[], SelfIdentity]
    """What UICI is, in all processes that work on the state."""
    layers: SelfGuardLayers
    workers: Workers
    brakes: Brakes
    wake: Callable[[], None]
    """Tell the ticker that a waiting run may be due."""
    drafts: Path
    """Where verbs that a model found missing are put down for people."""
    questions: Questions = field(default_factory=Questions)
    """Whose turn it is to ask a model, and what became of all that was asked."""
    rehearses: bool = True
    """Whether previews ask the platforms what they themselves would say."""

    draft: Draft | None = None
    """What the stages under way have still to write, see `later`; None where there are none."""

    @property
    def identity(self) -> SelfIdentity:
        """What must never be acted on."""
        return self.selves()

    def platforms_of(self, run: RunData) -> Platforms:
        """The platforms as this run sees them, whatever was loaded since it began to look."""
        if run.catalogue is None or run.target is None or run.target_spec is None:
            return self.platforms
        part = self.pins.part(run.catalogue)
        return self.platforms.seen_through(part.model_copy(update={"targets": {run.target: run.target_spec}}))

    def drafting(self, run: RunData) -> Services:
        """The same collaborators, for stages of a run's present part that share their transactions."""
        return replace(self, draft=Draft(run.run_id, run.part))

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A writing transaction, which begins with what was to be written later; followers of events are woken.

        Raises StalePartError when the run has been taken further by somebody else, or is another worker's now.
        """
        with self.events.writing() as connection:
            if self.draft is not None:
                records.check_part(connection, self.draft.run_id, self.draft.part, self.workers.id)
            for write in self.draft.writes if self.draft is not None else ():
                write(connection)
            yield connection
        if self.draft is not None:
            self.draft.writes.clear()
            self.draft.plans.clear()

    def check_may_send(self, run: RunData, announced_at: float) -> None:
        """Raise StalePartError where this process was stopped, or cut off from the state, since a call was announced.

        `announced_at` is by `uici.store.clock.elapsed`. Whoever takes the run over finds the announcement.
        """
        if not self.workers.may_send(announced_at):
            raise records.StalePartError(f"{run.run_id} part {run.part}")

    def later(self, write: Callable[[Connection], object]) -> None:
        """Write with the next transaction of the run, which comes before anything is sent, parked or ended.

        For what only tells of the run: a crash before it leaves no trace, and the stage is gone through again.
        """
        if self.draft is not None:
            self.draft.writes.append(write)
            return
        with self.events.writing() as connection:
            write(connection)

    def write_now(self) -> None:
        """Write what was to be written later."""
        with self.writing():
            pass

    def keep_plan(self, plan: PreparedPlan) -> str:
        """Store the snapshot of a plan later, and return its `cid`."""
        cid, now = plan.cid, self.clock.now()
        self.later(lambda connection: records.keep_plan(connection, cid, plan, now))
        if self.draft is not None:
            self.draft.plans[cid] = plan
        return cid

    def plan(self, cid: str | None) -> PreparedPlan:
        """The snapshot of a plan, as it was when the run made it."""
        drafted = self.draft.plans.get(cid or "") if self.draft is not None else None
        return drafted or records.load_plan(self.store, cid or "")

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
        """Add an event of the run, of this moment, when the next thing is written."""
        event = self.events.drafted(
            type_, incident=run.incident_id, run=run.run_id, environment=run.environment, target=run.target, **more
        )
        self.later(lambda connection: self.events.add(connection, event))
