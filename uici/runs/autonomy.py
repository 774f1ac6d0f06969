"""What autonomy held back, and what would have changed had it been raised: for people, before they raise it.

Only what is on record is said. That a remedy would have healed is never said of one that was not carried out: what
is known is that it would have been sent, what the other guards said of it, and how the alert ended without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy import Connection, Row, select

from uici.model.alert import AlertOutcome, AlertStatus
from uici.model.base import Frozen, JsonObject
from uici.model.durations import duration_of
from uici.model.errors import Problem, ProblemKind
from uici.model.plan import Origin
from uici.model.scope import EVERYTHING, Scope
from uici.model.site import Site
from uici.model.verdict import Answer, Verdict
from uici.runs.services import Services
from uici.runs.showing import PATIENT, masked
from uici.store.observed import observed
from uici.store.schema import alerts, approvals, attempts, incidents, runs

ACTED, ASKED, WAITED, DENIED = "acted", "asked", "waited", "denied"
"""What would have become of an observed run at `auto`."""


class Held(Frozen):
    """One run that autonomy held back."""

    run: str
    incident: str | None
    environment: str
    target: str
    strategy: str | None
    remedy: str | None
    cid: str
    risk: str
    level: str
    at: datetime
    otherwise: str
    """`acted`, `asked`, `waited` or `denied`: what the other guards said of it."""
    objections: tuple[str, ...]
    """The other guards that did not allow it."""
    ended: str
    """`by itself`, `after people acted`, `still firing`, or `unknown`."""
    seconds: float | None
    """From the incident's opening to the end of its last alert."""


class AutonomyRecord:
    """The record, as people ask for it."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def report(self, since: str, target: str | None, environment: str | None, scope: Scope = EVERYTHING) -> JsonObject:
        """Per target within the scope: what autonomy held back since then, and what became of it. Raises Problem."""
        site, now = self._services.site(), self._services.clock.now()
        begin = since_of(since, now)
        with self._services.store.read() as connection:
            found = report(connection, site, begin, now, target, environment)
        shown = [item for item in found["targets"] if scope.covers(item["environment"], item["target"])]
        return found | {"targets": shown}

    def observed(self, run_id: str) -> JsonObject:
        """What one run would have done that its autonomy held back. Raises Problem."""
        with self._services.store.read() as connection:
            return one(connection, run_id)


def since_of(text: str, now: datetime) -> datetime:
    """The moment that lies as long ago as `7d`, `12h`, `30m` says. Raises Problem."""
    return now - duration_of(text, "since", least=1)


def report(
    connection: Connection, site: Site, since: datetime, now: datetime, target: str | None, environment: str | None
) -> JsonObject:
    """Per target: what autonomy held back since then and how it ended, and what was done where UICI did act."""
    held: dict[tuple[str, str], list[Held]] = {}
    for item in _held(connection, since, target, environment):
        held.setdefault((item.environment, item.target), []).append(item)
    done: dict[tuple[str, str], list[Row[Any]]] = {}
    for row in _ended_runs(connection, since, target, environment):
        done.setdefault((row.environment, row.target), []).append(row)
    asked = _asked(connection, since)
    shown = [_target(site, place, held.get(place, []), done.get(place, []), asked) for place in sorted({*held, *done})]
    return masked({"since": since.isoformat(), "until": now.isoformat(), "targets": shown})


def one(connection: Connection, run_id: str) -> JsonObject:
    """What one observed run would have done, exactly as a preview showed it then, and what became of its incident.

    Raises Problem for a run that did not end because of its autonomy.
    """
    row = connection.execute(select(observed).where(observed.c.run_id == run_id)).one_or_none()
    if row is None:
        raise Problem(
            ProblemKind.NOT_FOUND,
            "not_observed",
            f"there is no run {run_id!r} that autonomy held back",
            hint="`uici autonomy report` names those that there are",
        )
    return masked({**row.preview, "held_back": _of(connection, row).model_dump(mode="json")})


def _held(connection: Connection, since: datetime, target: str | None, environment: str | None) -> Iterable[Held]:
    query = select(observed).where(observed.c.at >= since).order_by(observed.c.at)
    if target is not None:
        query = query.where(observed.c.target == target)
    if environment is not None:
        query = query.where(observed.c.environment == environment)
    return [_of(connection, row) for row in connection.execute(query).all()]


def _of(connection: Connection, row: Row[Any]) -> Held:
    others = [item for item in row.preview["guards"] if item["guard"] != "autonomy" and item["answer"] != Answer.ALLOW]
    ended, seconds = _end_of(connection, row)
    return Held(
        run=row.run_id,
        incident=row.incident_id,
        environment=row.environment,
        target=row.target,
        strategy=row.strategy,
        remedy=row.remedy,
        cid=row.cid,
        risk=row.risk,
        level=row.level,
        at=row.at,
        otherwise=_otherwise(row.otherwise, others),
        objections=tuple(item["guard"] for item in others),
        ended=ended,
        seconds=seconds,
    )


def _otherwise(answer: str, others: Sequence[JsonObject]) -> str:
    if answer == Answer.ALLOW:
        return ACTED
    if answer == Answer.NEEDS_APPROVAL:
        return ASKED
    denials = [(item["guard"], item["rule"]) for item in others if item["answer"] == Answer.DENY]
    return WAITED if all(denial in PATIENT or denial == ("cooldown", "seconds") for denial in denials) else DENIED


def _end_of(connection: Connection, row: Row[Any]) -> tuple[str, float | None]:
    """How the alerts of the incident ended, without us."""
    incident = connection.execute(select(incidents).where(incidents.c.id == row.incident_id)).one_or_none()
    found = connection.execute(
        select(alerts.c.status, alerts.c.ends_at, alerts.c.last_seen).where(alerts.c.incident_id == row.incident_id)
    ).all()
    if incident is None or not found:
        return "unknown", None
    if any(item.status == AlertStatus.FIRING for item in found):
        return "still firing", None
    # Alertmanager's word for the end; a peer without one is taken at the moment at which it told us.
    last = max(item.ends_at or item.last_seen for item in found)
    helped = connection.execute(
        select(runs.c.id).where(
            runs.c.environment == row.environment,
            runs.c.target == row.target,
            runs.c.origin == Origin.HUMAN,
            runs.c.acted_at.is_not(None),
            runs.c.acted_at >= incident.opened_at,
            runs.c.acted_at <= last,
        )
    ).first()
    return ("after people acted" if helped else "by itself"), max(0.0, (last - incident.opened_at).total_seconds())


def _ended_runs(
    connection: Connection, since: datetime, target: str | None, environment: str | None
) -> Sequence[Row[Any]]:
    """Runs of rules that sent at least one change."""
    query = select(runs).where(runs.c.ended_at >= since, runs.c.acted_at.is_not(None), runs.c.origin == Origin.RULE)
    if target is not None:
        query = query.where(runs.c.target == target)
    if environment is not None:
        query = query.where(runs.c.environment == environment)
    undoing = select(attempts.c.id).where(attempts.c.run_id == runs.c.id, attempts.c.position.startswith("undo:"))
    return connection.execute(query.add_columns(undoing.exists().label("was_undone"))).all()


def _asked(connection: Connection, since: datetime) -> Counter[tuple[str | None, str | None, str]]:
    query = (
        select(runs.c.environment, runs.c.target, approvals.c.state)
        .join(runs, runs.c.id == approvals.c.run_id)
        .where(approvals.c.requested_at >= since)
    )
    return Counter((row.environment, row.target, row.state) for row in connection.execute(query))


def _target(
    site: Site,
    place: tuple[str, str],
    held: Sequence[Held],
    done: Sequence[Row[Any]],
    asked: Counter[tuple[str | None, str | None, str]],
) -> JsonObject:
    environment, target = place
    acted = {
        "runs": len(done),
        "healed": sum(row.outcome == AlertOutcome.HEALED for row in done),
        "ineffective": sum(row.verdict == Verdict.INEFFECTIVE for row in done),
        "inconclusive": sum(row.verdict == Verdict.INCONCLUSIVE for row in done),
        "undone": sum(bool(row.was_undone) for row in done),
    }
    questions = {state: count for (where, what, state), count in sorted(asked.items()) if (where, what) == place}
    remedies: dict[tuple[str | None, str | None], list[Held]] = {}
    for item in held:
        remedies.setdefault((item.strategy, item.remedy), []).append(item)
    return {
        "environment": environment,
        "target": target,
        "autonomy": site.autonomy_of(target, environment),
        "summary": _sentence(held, acted),
        "incidents": len({item.incident for item in held} | {row.incident_id for row in done}),
        "held_back": len(held),
        "remedies": [_remedy(*named, items, done) for named, items in remedies.items()],
        "acted": acted,
        "approvals": questions,
    }


def _remedy(strategy: str | None, remedy: str | None, held: Sequence[Held], done: Sequence[Row[Any]]) -> JsonObject:
    seconds = [item.seconds for item in held if item.seconds is not None]
    # What is shown, not guessed: the same rung was tried on this target and this was its verdict.
    tried = [row for row in done if remedy in (row.data or {}).get("tried", [])[-1:]]
    return {
        "strategy": strategy,
        "remedy": remedy,
        "times": len(held),
        "risk": held[-1].risk,
        "would_have": dict(Counter(item.otherwise for item in held)),
        "objections": dict(Counter(guard for item in held for guard in item.objections)),
        "ended": dict(Counter(item.ended for item in held)),
        "median_seconds_to_end": round(median(seconds), 1) if seconds else None,
        "longest_seconds_to_end": round(max(seconds), 1) if seconds else None,
        "when_it_did_act": {
            "times": len(tried),
            "healed": sum(row.outcome == AlertOutcome.HEALED for row in tried),
        },
        "runs": [item.run for item in held],
    }


def _sentence(held: Sequence[Held], acted: JsonObject) -> str:
    parts = []
    if held:
        parts.append(f"{_count(len({item.incident for item in held}), 'incident')} held back: {_would_have(held)}")
        parts.append(_without_us(held))
    if acted["runs"]:
        said = f"{_count(acted['runs'], 'run')} did act: {acted['healed']} healed, {acted['ineffective']} in vain"
        said += f", {acted['inconclusive']} without a verdict" if acted["inconclusive"] else ""
        parts.append(said + (f", {acted['undone']} undone" if acted["undone"] else ""))
    return ". ".join(parts) + "."


def _would_have(held: Sequence[Held]) -> str:
    said = []
    by_remedy = Counter((item.remedy or "its plan") for item in held if item.otherwise == ACTED)
    said += [f"{count} would have been acted on by {name} without a person" for name, count in by_remedy.most_common()]
    for kind, words in (
        (ASKED, "would have asked for approval"),
        (WAITED, "would have waited"),
        (DENIED, "would have been denied"),
    ):
        items = [item for item in held if item.otherwise == kind]
        if items:
            guards = Counter(guard for item in items for guard in item.objections)
            risks = sorted({item.risk for item in items if "risk" in item.objections})
            named = {"risk": f"risk {'/'.join(risks)}"}
            because = ", ".join(named.get(name, name) for name, _ in guards.most_common())
            said.append(f"{len(items)} {words} ({because})")
    return "; ".join(said)


def _without_us(held: Sequence[Held]) -> str:
    ended = Counter(item.ended for item in held)
    said = [
        f"{ended[how]} {words}"
        for how, words in (
            ("by itself", "ended without UICI or a run of people's"),
            ("after people acted", "ended after people acted through UICI"),
            ("still firing", "still firing, or their end was not delivered"),
            ("unknown", "of unknown end"),
        )
        if ended[how]
    ]
    seconds = [item.seconds for item in held if item.seconds is not None]
    took = f", in {_duration(median(seconds))} as a median, {_duration(max(seconds))} at most" if seconds else ""
    return f"Of them {', '.join(said)}{took}. Whether the remedy would have helped is not known"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    for name, unit in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
