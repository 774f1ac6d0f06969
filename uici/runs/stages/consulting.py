"""Asking a model for a plan where no rule has one: facts first, then questions, then a plan for the guards to judge."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from uici.diagnosis.findings import find
from uici.model.alert import AlertOutcome
from uici.model.call import CallError, FailureKind
from uici.model.council import CouncilSettings
from uici.model.errors import Problem
from uici.model.masking import mask
from uici.model.plan import Authored, Origin, Plan, Step
from uici.model.verdict import Answer
from uici.planning.council.answers import Act, Decision, HandOver, Look, UnusableAnswerError, decision_of
from uici.planning.council.asking import Reply, ask
from uici.planning.council.drafting import write_draft
from uici.planning.council.prompt import Exchange, Question, question
from uici.planning.council.vocabulary import Vocabulary, vocabulary_of
from uici.planning.ladder import refuse_self
from uici.runs import records
from uici.runs.consultation import Consultation, Proposed
from uici.runs.consulting import BY_COUNCIL, WAITING, as_facts, looked, planned, remembered, told, waiting
from uici.runs.data import AT_FIRST, LOOK_AGAIN, RunData, Stage
from uici.runs.questions import AnswerKind, Fate
from uici.runs.services import Services
from uici.runs.stages.opening import choose_fallback, note_diagnosis

_LEAST_PAUSE = 1.0
_POLLS_PER_SECOND = 10
"""Of all that wait for their turn together."""
_LONGEST_ANSWER = 4000
_KINDS: Mapping[type[Decision], AnswerKind] = MappingProxyType(
    {Look: AnswerKind.LOOK, Act: AnswerKind.ACT, HandOver: AnswerKind.HAND_OVER}
)


@dataclass(frozen=True)
class Answered:
    """A question with its answer."""

    asked: Question
    reply: Reply
    seconds: float

    @property
    def authored(self) -> Authored:
        """What is kept of both."""
        return Authored(
            model=self.reply.model,
            prompt=self.asked.digest,
            read=self.reply.read,
            written=self.reply.written,
            cost_usd=self.reply.cost_usd,
        )


def consult(services: Services, data: RunData) -> RunData:
    """Ask once; then plan, look, ask again, or leave it to people."""
    settings, talk = services.site().platform.council, data.consultation
    if talk is None:
        raise ValueError(f"{data.run_id} asks for a plan without a reason")
    if settings is None:
        return data.ending(AlertOutcome.ESCALATED, talk.because)
    now = services.clock.now()
    left = _left(talk, settings, now)
    if left <= 0:
        return _given_up(services, data, talk, f"gave no plan within {settings.deadline_seconds:g} s")
    if talk.requests >= settings.requests:
        return _given_up(services, data, talk, f"was asked {talk.requests} times without a plan (council.requests)")
    if talk.tokens >= settings.tokens:
        return _given_up(services, data, talk, f"has used {talk.tokens} tokens (council.tokens)")
    with services.questions.turn() as taken:
        if taken:
            return _asked(services, data, talk, settings, left)
    pause = max(_LEAST_PAUSE, waiting(services) / _POLLS_PER_SECOND)
    return data.parked(now + timedelta(seconds=min(left, pause)), WAITING)


def _asked(services: Services, data: RunData, talk: Consultation, settings: CouncilSettings, left: float) -> RunData:
    began = time.monotonic()
    environment, target = data.place
    words = vocabulary_of(services.site(), environment, target, settings)
    if not talk.triaged:
        data, talk = _triaged(services, data, talk, settings, words)
    try:
        asked = question(
            words,
            settings,
            told(services, data, talk, settings),
            looks_left=settings.looks - talk.looks,
            unusable=talk.unusable,
        )
    except ValueError as error:
        return _given_up(services, data, talk, f"cannot be asked: {error}")
    try:
        with services.questions.asking():
            reply = ask(settings, asked, max(0.1, left - (time.monotonic() - began)))
    except CallError as error:
        return _unanswered(services, data, talk, error, time.monotonic() - began)
    answered = Answered(asked, reply, time.monotonic() - began)
    talk = talk.model_copy(
        update={
            "requests": talk.requests + 1,
            "tokens": talk.tokens + (reply.read or 0) + (reply.written or 0),
            "lost": 0,
        }
    )
    try:
        decision = _decided(reply, words, services, environment, settings.looks - talk.looks > 0)
    except UnusableAnswerError as error:
        _note(services, data, talk, answered, AnswerKind.UNUSABLE, wrong=list(error.findings))
        return _unusable(services, data, talk, reply, error.findings)
    _note(services, data, talk, answered, _KINDS[type(decision)], reasoning=decision.reasoning)
    if isinstance(decision, HandOver):
        return _handed_over(services, data, talk, decision)
    if isinstance(decision, Look):
        return _looked(services, data, talk, decision, settings)
    return planned_by(services, data, talk, decision, settings, answered)


def _triaged(
    services: Services, data: RunData, talk: Consultation, settings: CouncilSettings, words: Vocabulary
) -> tuple[RunData, Consultation]:
    """The run with what the first looks have shown."""
    _, target = data.place
    steps = [
        Step(operation=name, target=target, parameters=parameters)
        for name, parameters in settings.triage.items()
        if name in words.reading
    ]
    first_call = services.clock.now()
    seen = looked(services, data, steps)
    found = find(seen, services.site().findings)
    # What a strategy's own looks established a moment ago stays: it looked where triage does not.
    known = {finding.name for finding in found}
    before = data.findings if data.strategy is not None else ()
    found += tuple(finding for finding in before if finding.name not in known)
    facts = as_facts(seen, settings)
    note_diagnosis(services, data, data.strategy, found, facts, first_call)
    data = data.model_copy(update={"findings": found})
    past = remembered(services, data, settings)
    return data, talk.model_copy(update={"facts": facts, "past": past, "triaged": True})


def _left(talk: Consultation, settings: CouncilSettings, now: datetime) -> float:
    """Seconds until the deadline. A clock that was set back does not lengthen it."""
    return settings.deadline_seconds - max(0.0, (now - talk.since).total_seconds())


def _decided(reply: Reply, words: Vocabulary, services: Services, environment: str, may_look: bool) -> Decision:
    if reply.cut_off:
        raise UnusableAnswerError(["the answer was cut off before its end: say less"])
    return decision_of(reply.text, words, services.site(), environment, may_look=may_look)


def _unanswered(services: Services, data: RunData, talk: Consultation, error: CallError, seconds: float) -> RunData:
    permanent = error.kind is FailureKind.PERMANENT
    services.questions.answered(AnswerKind.UNASKABLE if permanent else AnswerKind.SILENT)
    services.note_alone(data, "council_silent", error=str(error), seconds=round(seconds, 3), attempt=talk.lost + 1)
    if permanent:
        return _given_up(services, data, talk, f"cannot be asked: {error}")
    pause = timedelta(seconds=services.site().platform.runs.retry_seconds * 2 ** min(talk.lost, 16))
    again = talk.model_copy(update={"lost": talk.lost + 1})
    return data.parked(services.clock.now() + min(pause, LOOK_AGAIN), WAITING, consultation=again)


def _unusable(
    services: Services, data: RunData, talk: Consultation, reply: Reply, findings: tuple[str, ...]
) -> RunData:
    if talk.unusable is not None:
        return _given_up(services, data, talk, f"answered twice what is no plan: {'; '.join(findings)}")
    shown: str = mask(reply.text)
    exchange = Exchange(answer=shown[:_LONGEST_ANSWER], findings=findings)
    return data.to(Stage.CONSULT, consultation=talk.model_copy(update={"unusable": exchange}))


def _looked(
    services: Services, data: RunData, talk: Consultation, decision: Look, settings: CouncilSettings
) -> RunData:
    wanted = decision.steps[: settings.looks - talk.looks]
    seen = as_facts(looked(services, data, wanted), settings)
    return data.to(
        Stage.CONSULT,
        consultation=talk.model_copy(
            update={"facts": (*talk.facts, *seen), "looks": talk.looks + len(wanted), "unusable": None}
        ),
    )


def _handed_over(services: Services, data: RunData, talk: Consultation, decision: HandOver) -> RunData:
    missing = decision.missing_verb
    if missing is not None:
        environment, _ = data.place
        platform = services.site().environments[environment].platform
        try:
            file = write_draft(
                services.drafts, data.run_id, missing, decision.because, platform, services.platforms.executors
            )
        except OSError as error:
            services.note_alone(data, "verb_not_drafted", verb=missing.name, error=error.strerror or str(error))
        else:
            services.questions.drafted()
            services.note_alone(data, "verb_drafted", verb=missing.name, file=str(file))
    return _to_people(data, talk, f"leaves it to people: {decision.because}")


def planned_by(
    services: Services,
    data: RunData,
    talk: Consultation,
    decision: Act,
    settings: CouncilSettings,
    answered: Answered,
) -> RunData:
    """The run with a model's plan, for the guards to judge; refused where it would meet UICI itself."""
    environment, _ = data.place
    remedy = f"{BY_COUNCIL}{planned(data) + 1}"
    plan = Plan(
        environment=environment,
        steps=decision.steps,
        origin=Origin.COUNCIL,
        reason=decision.reasoning,
        strategy=data.strategy,
        remedy=remedy,
        verify=settings.verify,
        authored=answered.authored,
    )
    own = refuse_self(plan, services.site(), services.identity, services.layers)
    if own.answer is Answer.DENY:
        services.questions.planned(Fate.REFUSED)
        return data.ending(AlertOutcome.REFUSED, f"self_target: {own.reason}")
    try:
        prepared = services.platforms_of(data).prepare(plan)
    except Problem as problem:
        if problem.code == "self_target":
            services.questions.planned(Fate.REFUSED)
            return data.ending(AlertOutcome.REFUSED, f"self_target: {problem.detail}")
        return _unusable(services, data, talk, answered.reply, (f"the plan cannot be translated: {problem.detail}",))
    cid = services.keep_plan(prepared)
    services.note_alone(
        data,
        "planned",
        origin=Origin.COUNCIL,
        remedy=remedy,
        cid=cid,
        risk=prepared.risk,
        steps=[step.step.operation for step in prepared.steps],
        reason=decision.reasoning,
    )
    proposed = Proposed(remedy=remedy, steps=decision.steps)
    return data.to(
        Stage.GUARD,
        cid=cid,
        tried=(*data.tried, remedy),
        consultation=talk.model_copy(
            update={"facts": (), "past": (), "unusable": None, "proposed": (*talk.proposed, proposed)}
        ),
        **AT_FIRST,
    )


def _given_up(services: Services, data: RunData, talk: Consultation, why: str) -> RunData:
    """The run without a plan of the model: on by a fallback strategy where one covers it, else to people."""
    fallback = _fallback(services, data, talk)
    if fallback is None:
        return _to_people(data, talk, why)
    services.questions.fell_back()
    services.note_alone(data, "fallback_taken", strategy=fallback, because=_because(talk, why))
    return data.to(Stage.DIAGNOSE, consultation=talk.model_copy(update={"facts": (), "past": (), "fell_back": True}))


def _fallback(services: Services, data: RunData, talk: Consultation) -> str | None:
    """The name of the fallback strategy for what fires. It is for nothing that another strategy treats, nor where
    something was tried or the model had a plan.
    """
    if data.strategy is not None or data.tried or talk.proposed:
        return None
    with services.store.read() as connection:
        firing = records.firing_alerts(connection, data.incident_id or "")
    found = choose_fallback(services.site(), firing)
    return None if found is None else found[0]


def _to_people(data: RunData, talk: Consultation, why: str) -> RunData:
    ended = talk.model_copy(update={"facts": (), "past": ()})
    return data.ending(AlertOutcome.ESCALATED, _because(talk, why), consultation=ended)


def _because(talk: Consultation, why: str) -> str:
    return f"{talk.because}; the council {why}"


def _note(
    services: Services, data: RunData, talk: Consultation, answered: Answered, decision: AnswerKind, **more: object
) -> None:
    services.questions.answered(decision, answered.authored)
    services.note_alone(
        data,
        "council_answered",
        decision=decision,
        **more,
        **answered.authored.model_dump(),
        seconds=round(answered.seconds, 3),
        attempt=talk.requests,
    )
