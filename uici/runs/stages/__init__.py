"""The stages of a run, one visible list. Each is a function (services, run) -> run, called at least once:
it looks before it acts, and what it writes can be written again.

Belongs here: the stages and their order. Does not belong here: the engine that calls them, slots and approvals as rows
(`uici.runs`), and the judgements that the stages ask other rooms for.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from uici.runs import records
from uici.runs.data import RunData, Stage
from uici.runs.records import StalePartError
from uici.runs.services import Services
from uici.runs.stages.acting import capture, confirm, send
from uici.runs.stages.closing import close
from uici.runs.stages.consulting import consult
from uici.runs.stages.depending import depend
from uici.runs.stages.judging import next_rung, undo, verify
from uici.runs.stages.opening import diagnose, hold, target
from uici.runs.stages.planning import acquire, approval, guard, plan

StageFunction = Callable[[Services, RunData], RunData]

STAGES: dict[Stage, StageFunction] = {
    Stage.TARGET: target,  # which target; ask the platform where labels do not say
    Stage.HOLD: hold,  # wait while the target rests
    Stage.DEPEND: depend,  # wait for what it depends on; no slot, no platform but a look
    Stage.DIAGNOSE: diagnose,  # read-only operations -> findings
    Stage.PLAN: plan,  # next rung -> plan -> exact calls, kept under their cid
    Stage.CONSULT: consult,  # where no rule has a plan: facts, questions to a model -> plan
    Stage.GUARD: guard,  # every guard, under the live policy
    Stage.APPROVAL: approval,  # a row with a deadline; expires closed
    Stage.ACQUIRE: acquire,  # the target's slot with its fencing number; guards once more
    Stage.CAPTURE: capture,  # preconditions and before-state
    Stage.SEND: send,  # announce, send, settle; or prove after a crash
    Stage.CONFIRM: confirm,  # the operation's own effect; state after
    Stage.VERIFY: verify,  # health and silence -> verdict
    Stage.UNDO: undo,  # restore configuration where it is still ours
    Stage.NEXT: next_rung,  # next remedy, or the end
    Stage.CLOSE: close,  # outcomes, message, slot back
}

_BEFORE_ACTING = frozenset(
    {Stage.TARGET, Stage.HOLD, Stage.DEPEND, Stage.DIAGNOSE, Stage.PLAN, Stage.CONSULT}
    | {Stage.GUARD, Stage.APPROVAL, Stage.ACQUIRE}
)
_RECORDED = frozenset({Stage.CONSULT, Stage.SEND, Stage.UNDO, Stage.NEXT, Stage.CLOSE})
"""Stages after which the run is written down at once. The others only look, or write what can be written again, so
they are gone through together: until a call is announced, the run waits, or one of these has ended.
"""
# While a call may be in flight, or state is being put back, stopping would leave things worse than going on.
_NOT_TO_INTERRUPT = frozenset({Stage.SEND, Stage.CONFIRM, Stage.UNDO, Stage.NEXT, Stage.CLOSE})


class StageFailedError(Exception):
    """A defect of ours in one stage; `data` is the run as that stage found it, and the cause is what went wrong."""

    def __init__(self, data: RunData) -> None:
        super().__init__(f"{data.run_id} at stage {data.stage.value}")
        self.data = data


def advance(services: Services, data: RunData) -> RunData:
    """Take a run through its next stage, and on as far as nothing has to be written down; write what it has become.

    Raises StalePartError, and StageFailedError for a defect of ours.
    """
    services = services.drafting(data)
    after, looked = data, False
    try:
        while True:
            before = after
            # An announcement asks again in its own transaction. In between it matters after what may have taken long.
            if not looked or before.stage in (Stage.PLAN, Stage.VERIFY):
                after = _interruption(services, before) or before
            if after is before:
                after = one_stage(services, before)
            looked = True
            if after.wait is not None or after.stage is Stage.ENDED or before.stage in _RECORDED:
                break
    except (SQLAlchemyError, StalePartError):
        raise
    except Exception as error:
        with services.writing() as connection:  # what was found until then helps whoever looks for the defect
            records.save(connection, data, before, services.clock.now())
        raise StageFailedError(before) from error
    if after.stage is Stage.ENDED:
        return after
    with services.writing() as connection:
        saved = records.save(connection, data, after, services.clock.now())
    if not saved:  # what was done is written down all the same
        raise StalePartError(f"{data.run_id} part {data.part}")
    if after.wait is not None:
        services.wake()
    return after


def one_stage(services: Services, data: RunData) -> RunData:
    """What the run is after one stage; nothing of the run itself is written, except by the stage."""
    return STAGES[data.stage](services, data)


def _interruption(services: Services, data: RunData) -> RunData | None:
    """Reasons to end early: cancelled by a person, or all alerts went silent before this plan changed anything."""
    if data.stage in _NOT_TO_INTERRUPT or data.undoing:
        return None
    with services.store.read() as connection:
        return records.interruption(connection, data, planning=data.stage in _BEFORE_ACTING)
