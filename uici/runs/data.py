"""What a run knows of itself: the value that its stages pass on, kept as JSON in its row and in the journal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from pydantic import Field

from uici.model.alert import AlertOutcome
from uici.model.base import Frozen, JsonObject
from uici.model.incident import Finding
from uici.model.masking import mask
from uici.model.plan import Origin
from uici.model.site import TargetSpec
from uici.model.verdict import Verdict
from uici.runs.consultation import Consultation
from uici.verification.judging import HealthTrack

FIRST_CALL: Mapping[str, object] = MappingProxyType(
    {
        "call": 0,
        "attempt": 0,
        "results": {},
        "before": {},
        "call_before": {},
        "step_started_at": None,
        "poll_deadline": None,
    }
)
"""What a run knows of a step that has not begun."""

AT_FIRST: Mapping[str, object] = MappingProxyType(
    {
        **FIRST_CALL,
        "step": 0,
        "done": (),
        "undone": (),
        "restored": False,
        "undoing": False,
        "undo_cid": None,
        "verdict": None,
        "verify_started_at": None,
        "health": HealthTrack(),
        "looks": 0,
    }
)
"""What a run knows of a plan that has not begun."""

LOOK_AGAIN = timedelta(seconds=15)
"""Between two looks of a run that waits for something which may also change without waking it."""


class Stage(StrEnum):
    """The stages of a run. `uici.runs.stages.STAGES` lists them with what each does."""

    TARGET = "target"
    HOLD = "hold"
    DEPEND = "depend"
    DIAGNOSE = "diagnose"
    PLAN = "plan"
    CONSULT = "consult"
    GUARD = "guard"
    APPROVAL = "approval"
    ACQUIRE = "acquire"
    CAPTURE = "capture"
    SEND = "send"
    CONFIRM = "confirm"
    VERIFY = "verify"
    UNDO = "undo"
    NEXT = "next"
    CLOSE = "close"
    ENDED = "ended"


class RunState(StrEnum):
    """`waiting` has a due time, `active` a workflow, `ended` an outcome."""

    WAITING = "waiting"
    ACTIVE = "active"
    ENDED = "ended"


class Wait(Frozen):
    """Why a run is parked, and until when at the latest."""

    until: datetime
    reason: str


class Waited(Frozen):
    """What a run has waited for among all that its target depends on."""

    since: datetime
    root: str
    incident: str | None = None
    healed_at: datetime | None = None
    """When nothing was in its way any more: the target may recover by itself."""


class DoneStep(Frozen):
    """A step whose calls were carried out: what undo needs to know."""

    step: int
    before: JsonObject
    after: JsonObject | None = None


class RunData(Frozen):
    """The state of a run between two stages."""

    run_id: str
    part: int
    stage: Stage
    origin: Origin
    actor: str = ""
    incident_id: str | None = None
    environment: str | None = None
    target: str | None = None
    catalogue: str | None = None
    """Digest of the part of the configuration that this run sees; see `uici.runs.pinning`."""
    target_spec: TargetSpec | None = None
    """The target, as it was then."""
    strategy: str | None = None
    findings: tuple[Finding, ...] = ()
    unseen: str = ""
    """Why the last diagnosis could see nothing at all, a reason code first; empty when it saw something."""
    tried: tuple[str, ...] = ()
    impossible: tuple[tuple[str, str], ...] = ()
    """Remedies that cannot be translated for this target, with the reason. They were never tried."""
    consultation: Consultation | None = None
    """What was asked of a model in this run; None where nothing was."""
    cid: str | None = None
    approved_cid: str | None = None
    fence: int | None = None

    asking_since: datetime | None = None
    """Since when the platform that should name or show the target cannot be asked."""

    # Executing: position in the plan, or in the undo plan while `undoing`.
    step: int = 0
    call: int = 0
    attempt: int = 0
    before: JsonObject = Field(default_factory=dict)
    call_before: JsonObject = Field(default_factory=dict)
    results: JsonObject = Field(default_factory=dict)
    step_started_at: datetime | None = None
    poll_deadline: datetime | None = None
    """Until when the call under way is repeated at most."""
    confirm_deadline: datetime | None = None
    done: tuple[DoneStep, ...] = ()
    acted: bool = False
    acted_with: tuple[str, ...] = ()
    """Those of the tried remedies of which a call was sent that changes something."""
    told: bool = False
    """A step of the plan itself told people."""
    proposing: bool = False
    """People are to be told what would have been done."""
    undoing: bool = False
    left_to_people: bool = False
    """A step was refused for a reason that rules out every other remedy: after the undo people are told."""
    undo_cid: str | None = None
    undone: tuple[int, ...] = ()
    """Steps that undo is through with: put back, or left alone for a reason."""
    restored: bool = False
    """At least one of them was put back."""

    # Verifying.
    verify_started_at: datetime | None = None
    health: HealthTrack = HealthTrack()
    looks: int = 0
    held_until: datetime | None = None
    """The target rests after an earlier run, as the timeline says."""
    waited: Waited | None = None
    well_until: datetime | None = None
    """The target was found healthy although an alert fires: until then its silence is awaited."""
    discounted: tuple[str, ...] = ()
    """Fingerprints of alerts of which no end was delivered, but which do not fire any more: Prometheus says so."""

    braked: bool = False
    """Only the brake of a mass failure asks for an approval: the run goes on when that lets go."""
    gave_up: bool = False
    """The give-up guard denied: too many runs on the target did not help."""
    rescues: int = 0
    """How often the run was taken up again after a part of it had ended without a result."""
    verdict: Verdict | None = None
    outcome: AlertOutcome | None = None
    reason: str = ""
    wait: Wait | None = None

    @property
    def place(self) -> tuple[str, str]:
        """Environment and target. Raises ValueError before the target is known: no later stage runs without one."""
        if self.environment is None or self.target is None:
            raise ValueError(f"{self.run_id} has no target at stage {self.stage}")
        return self.environment, self.target

    def to(self, stage: Stage, **changes: object) -> RunData:
        """The same run at another stage; a wait never survives a change of stage."""
        return self.model_copy(update={"stage": stage, "wait": None, **changes})

    def parked(self, until: datetime, reason: str, **changes: object) -> RunData:
        """The same run at the same stage, to be looked at again at `until` or when woken."""
        return self.model_copy(update={"wait": Wait(until=until, reason=reason), **changes})

    def having_acted(self) -> RunData:
        """The run once a call of its present remedy is on its way that changes something."""
        acted_with = dict.fromkeys((*self.acted_with, *self.tried[-1:]))
        return self.model_copy(update={"acted": True, "acted_with": tuple(acted_with)})

    def not_having_acted(self) -> RunData:
        """The run where the first call of its present remedy was refused, so that nothing came of it."""
        acted_with = tuple(name for name in self.acted_with if name not in self.tried[-1:])
        return self.model_copy(update={"acted": bool(acted_with), "acted_with": acted_with})

    def ending(self, outcome: AlertOutcome, reason: str, **changes: object) -> RunData:
        """The run on its way to its end. What a platform or a sender said may be a part of the reason."""
        return self.to(Stage.CLOSE, outcome=outcome, reason=mask(reason), **changes)


def meets_self(reason: str) -> bool:
    """Whether a step was refused because it would have met UICI itself."""
    return reason.startswith("self_target")
