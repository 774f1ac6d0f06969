"""The rows that learning reads and writes: outcomes, choices, people's words, vetoes.

An outcome is written in the transaction that takes a run beyond its verdict, under the run and the rung: once, whatever
is repeated after a crash.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, and_, bindparam, select

from uici.model.base import JsonObject
from uici.model.learning import Choice, LearningPolicy, Outcome, Veto, Word, finding_set
from uici.model.plan import Origin
from uici.model.verdict import Verdict
from uici.planning.evidence import relevant_since
from uici.runs import records
from uici.runs.data import RunData, RunState
from uici.store.inserting import insert_into, insert_or_leave
from uici.store.schema import choices, feedback, outcomes, runs, vetoes

_REWARDS = {Verdict.EFFECTIVE: 1.0, Verdict.INEFFECTIVE: 0.0}


_CHOICE = select(choices.c.document).where(choices.c.run_id == bindparam("run"), choices.c.rung == bindparam("place"))
_IN_FORCE = select(vetoes).where(vetoes.c.lifted_at.is_(None)).order_by(vetoes.c.id)


def keep_outcome(connection: Connection, data: RunData, now: datetime) -> None:
    """Write what came of the rung that the run has just left, unless it is written already.

    A rung that was never begun (refused, not approved, cancelled before) is no outcome.
    """
    if data.origin is not Origin.RULE or data.strategy is None or not data.tried:
        return
    verified = data.verify_started_at is not None
    begun = records.begun(connection, data)
    if data.verdict is None and not begun:
        return
    reward, reason = _REWARDS.get(data.verdict) if data.verdict else None, ""
    if reward is None:
        reason = f"not counted: {data.verdict or 'no verdict'}: {data.reason}"
    elif not (verified or begun):
        reward, reason = None, f"not counted: nothing was done: {data.reason}"
    rung = len(data.tried)
    choice = choice_of(connection, data.run_id, rung)
    environment, target = data.place
    connection.execute(
        insert_or_leave(connection, outcomes, "run_id", "rung"),
        dict(
            run_id=data.run_id,
            rung=rung,
            at=now,
            strategy=data.strategy,
            remedy=data.tried[-1],
            findings=choice.findings if choice else finding_set(finding.name for finding in data.findings),
            environment=environment,
            target=target,
            catalogue=data.catalogue,
            verdict=data.verdict,
            reward=reward,
            reason=reason,
            alternative=choice.alternative if choice else None,
            policy=choice.policy if choice else None,
            propensity=choice.propensity if choice else None,
            position=choice.position if choice else None,
        ),
    )


def outcomes_of(
    connection: Connection, strategy: str | None, settings: LearningPolicy, now: datetime
) -> tuple[Outcome, ...]:
    """The newest outcomes of a strategy, or of all, that still weigh something, newest first, with people's words."""
    query = (
        select(outcomes)
        .where(outcomes.c.at >= relevant_since(now, settings))
        .order_by(outcomes.c.at.desc(), outcomes.c.run_id.desc(), outcomes.c.rung.desc())
        .limit(settings.most_outcomes)
    )
    if strategy is not None:
        query = query.where(outcomes.c.strategy == strategy)
    found = query.subquery()
    rows = connection.execute(select(found)).all()
    said: dict[tuple[str, int], list[Word]] = defaultdict(list)
    # A person says something of a run now and then: far fewer rows than outcomes.
    same = and_(feedback.c.run_id == found.c.run_id, feedback.c.rung == found.c.rung)
    for row in connection.execute(select(feedback).join(found, same).order_by(feedback.c.at)):
        said[row.run_id, row.rung].append(Word(actor=row.actor, good=row.good))
    return tuple(_outcome(row, tuple(said[row.run_id, row.rung])) for row in rows)


def outcomes_of_run(connection: Connection, run_id: str) -> list[JsonObject]:
    """What came of each rung of a run, with what people said of it, as JSON."""
    said = connection.execute(select(feedback).where(feedback.c.run_id == run_id).order_by(feedback.c.at)).all()
    return [
        {
            "rung": row.rung,
            "remedy": row.remedy,
            "verdict": row.verdict,
            "reward": row.reward,
            "reason": row.reason,
            "alternative": row.alternative,
            "propensity": row.propensity,
            "feedback": [
                f"{item.actor}: {'good' if item.good else 'bad'}{f' ({item.comment})' if item.comment else ''}"
                for item in said
                if item.rung == row.rung
            ],
        }
        for row in connection.execute(select(outcomes).where(outcomes.c.run_id == run_id).order_by(outcomes.c.rung))
    ]


def choice_of(connection: Connection, run_id: str, rung: int) -> Choice | None:
    """How the alternative of this rung was chosen; None when it was not chosen among any."""
    document = connection.execute(_CHOICE, {"run": run_id, "place": rung}).scalar_one_or_none()
    return None if document is None else Choice.model_validate(document)


def present_choice(connection: Connection, run_id: str) -> tuple[Choice | None, tuple[str, ...]]:
    """How a run that has not ended chose its present rung, and what it had tried before; None and nothing otherwise."""
    row = connection.execute(select(runs.c.data, runs.c.state).where(runs.c.id == run_id)).one_or_none()
    tried: list[str] = (row.data or {}).get("tried", []) if row is not None and row.state != RunState.ENDED else []
    choice = choice_of(connection, run_id, len(tried))
    return (choice, tuple(tried[:-1])) if choice is not None else (None, ())


def keep_choice(connection: Connection, run_id: str, rung: int, choice: Choice, now: datetime) -> None:
    """Write how the alternative of this rung was chosen; the last choice counts, as its rung may be planned again."""
    values = {"at": now, "document": choice.model_dump(mode="json")}
    connection.execute(
        insert_into(connection, choices)
        .values(run_id=run_id, rung=rung, **values)
        .on_conflict_do_update(index_elements=["run_id", "rung"], set_=values)
    )


@dataclass(frozen=True)
class LoggedChoice:
    """A choice among at least two alternatives, and the counted outcome that it led to."""

    at: datetime
    choice: Choice
    strategy: str
    reward: float


def logged_choices(connection: Connection, strategy: str | None, most: int) -> tuple[LoggedChoice, ...]:
    """The newest of each run's first choices in a group, oldest first.

    Only the first: a second one is made just where the first did not help, so the two are not alike.
    """
    same = and_(choices.c.run_id == outcomes.c.run_id, choices.c.rung == outcomes.c.rung)
    query = (
        select(choices.c.at, choices.c.document, outcomes.c.strategy, outcomes.c.reward)
        .join(outcomes, same)
        .where(outcomes.c.reward.is_not(None), outcomes.c.position == 1)
        .order_by(choices.c.at.desc())
        .limit(most)
    )
    if strategy is not None:
        query = query.where(outcomes.c.strategy == strategy)
    found = (
        LoggedChoice(row.at, Choice.model_validate(row.document), row.strategy, row.reward)
        for row in connection.execute(query).all()
    )
    return tuple(item for item in found if len(item.choice.candidates) > 1)[::-1]


def vetoes_in_force(connection: Connection) -> tuple[Veto, ...]:
    """What people have forbidden and not lifted, oldest first."""
    rows = connection.execute(_IN_FORCE)
    return tuple(Veto.model_validate({name: getattr(row, name) for name in Veto.model_fields}) for row in rows)


def vetoed_remedies(in_force: tuple[Veto, ...], strategy: str, environment: str, target: str) -> dict[str, str]:
    """The remedies of a strategy that are vetoed on a target, with the reason in words."""
    return {
        veto.remedy: f"vetoed by {veto.actor}: {veto.reason} ({veto.id})"
        for veto in in_force
        if veto.covers(strategy, veto.remedy, environment, target)
    }


def _outcome(row: Row[tuple[object, ...]], words: tuple[Word, ...]) -> Outcome:
    fields = {name: getattr(row, name) for name in Outcome.model_fields if name != "words"}
    return Outcome.model_construct(**fields, words=words)
