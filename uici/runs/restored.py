"""After a restore: what was under way when the backup was made was gone on with since, nobody knows how far.

So nothing of it is gone on with again: those runs go to people, open questions are withdrawn, and everything is frozen
until somebody has looked. The restore leaves a mark in the state it puts back, and this is done in one transaction with
taking the mark away: by the restore itself, or where it was interrupted by the next start, before anything else.
"""

from __future__ import annotations

import structlog
from sqlalchemy import Connection, Row, select

from uici.events.log import EventLog
from uici.model.alert import AlertOutcome
from uici.model.settings import MessageKind
from uici.ports import Clock
from uici.runs.data import RunData, RunState
from uici.runs.recovery import beginning
from uici.store.database import Store
from uici.store.inserting import insert_into
from uici.store.outbox import enqueue
from uici.store.schema import approvals, freezes, meta, runs
from uici.store.workers import workers

log = structlog.get_logger(__name__)

BACKED_UP_AT = "backed_up_at"
"""In the state and so in its copy: when the backup was begun."""
RESTORED = "restored"
"""In a state that was put back and not looked through yet."""
_BY = "uici restore"


def settle_restored(store: Store, events: EventLog, clock: Clock) -> int | None:
    """Take care of a state that was put back; how many runs went to people, None where there is nothing to do."""
    with store.read() as connection:
        if connection.execute(select(meta.c.value).where(meta.c.name == RESTORED)).first() is None:
            return None
    with events.writing() as connection:
        found = {row.name: row.value for row in connection.execute(select(meta.c.name, meta.c.value))}
        if RESTORED not in found:
            return None  # another process was quicker
        of = found.get(BACKED_UP_AT, "an unknown time")
        now = clock.now()
        under_way = connection.execute(select(runs).where(runs.c.state != RunState.ENDED)).all()
        for row in under_way:
            _give_to_people(connection, row, of, clock)
        connection.execute(
            approvals.update()
            .where(approvals.c.state == "pending")
            .values(state="withdrawn", decided_at=now, comment=f"restored from a backup of {of}")
        )
        connection.execute(workers.delete())
        why = f"restored from a backup of {of}: look what was done since, then lift this"
        frozen = {"frozen": True, "actor": _BY, "reason": why, "at": now}
        freeze = insert_into(connection, freezes).values(id=1, **frozen)
        connection.execute(freeze.on_conflict_do_update(index_elements=["id"], set_=frozen))
        events.append(connection, "state_restored", actor=_BY, backup_of=of, escalated=[row.id for row in under_way])
        events.append(connection, "frozen", actor=_BY, reason=why)
        enqueue(
            connection,
            f"restored:{found[RESTORED]}",
            MessageKind.ESCALATION,
            {
                "kind": MessageKind.ESCALATION,
                "title": f"UICI's state was restored from a backup of {of}",
                "why": f"what was done since is not known; {len(under_way)} runs that were under way go to people",
                "what_to_do": [
                    "look at the targets of the escalated runs: uici incidents",
                    "revoke again what was revoked since: uici token list",
                    "then let UICI act again: uici unfreeze",
                ],
            },
            now,
        )
        connection.execute(meta.delete().where(meta.c.name == RESTORED))
    log.warning("state_restored", backup_of=of, escalated=len(under_way))
    return len(under_way)


def _give_to_people(connection: Connection, row: Row[tuple[object, ...]], of: str, clock: Clock) -> None:
    """The run's last stage is all that is left of it: it sends nothing, and tells people."""
    data = RunData.model_validate(row.data or beginning(row))
    reason = f"restored from a backup of {of}: what was done since is not known; nothing was repeated or undone"
    part = int(row.part) + 1
    ending = data.ending(AlertOutcome.ESCALATED, reason, part=part, undoing=False, told=False, gave_up=False)
    connection.execute(
        runs.update()
        .where(runs.c.id == row.id)
        .values(
            state=RunState.WAITING,
            stage=ending.stage,
            part=ending.part,
            worker=None,
            due_at=clock.now(),
            waiting_for="restore",
            data=ending.model_dump(mode="json", exclude_defaults=True),
        )
    )
