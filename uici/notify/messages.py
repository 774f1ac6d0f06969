"""What humans are told: what is wrong, where, what was tried, why UICI stopped, and what to do. Pure.

Messages are made here as they are stored; secrets are masked where they are stored (`uici.store.outbox`) and once more
where they leave (`uici.notify.delivery`). How they read is `uici.notify.wording`'s.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime

from uici.model.alert import AlertOutcome
from uici.model.background import Background
from uici.model.base import Frozen, JsonObject
from uici.model.incident import Finding, Incident
from uici.model.settings import MessageKind
from uici.model.verdict import Verdict


class Tried(Frozen):
    """One remedy that was tried, and what came of it."""

    remedy: str
    verdict: Verdict | None = None
    undone: bool = False
    detail: str = ""


class Further(Frozen):
    """A guide: where people read on."""

    name: str
    title: str
    url: str | None = None
    """A page of it that can be linked."""

    @property
    def advice(self) -> str:
        """How it is read in the terminal."""
        return f"read the guide {self.title!r}: uici guides show {self.name}"


_TITLES = {
    MessageKind.ESCALATION: "UICI needs a human",
    MessageKind.REFUSED: "UICI may not act, so nothing was done",
    MessageKind.PROPOSAL: "UICI proposes a remedy, and does nothing by itself",
}
_ENDS = {
    AlertOutcome.HEALED: "UICI healed it",
    AlertOutcome.SELF_RESOLVED: "it resolved by itself",
}


def incident_message(
    *,
    kind: MessageKind,
    incident: Incident,
    why: str,
    findings: Sequence[Finding] = (),
    tried: Sequence[Tried] = (),
    what_to_do: Sequence[str] = (),
    plan: Sequence[JsonObject] = (),
    background: Background | None = None,
    guides: Sequence[Further] = (),
) -> JsonObject:
    """What a person is told of an incident that ended; `kind` is not `approval`, which is `approval_message`'s.

    `why` says why UICI does not go on by itself; `what_to_do` comes before the advice that always holds; `plan` are
    the steps that were taken or are proposed; `background` is what the alerts' author says of them; `guides` are those
    for it.
    """
    proposed = kind is MessageKind.PROPOSAL
    commands = [f"do what is proposed: {_command(step, incident.environment)}" for step in plan] if proposed else []
    return {
        "kind": kind,
        "title": f"{_what(incident)}: {_TITLES[kind]}",
        "what": {
            "incident": incident.id,
            "title": incident.title,
            "severity": incident.severity,
            "opened_at": incident.opened_at.isoformat(),
            "findings": [{"name": item.name, "summary": item.summary, "evidence": item.evidence} for item in findings],
        },
        "where": _where(incident.environment, incident.target),
        "since": _moment(incident.opened_at),
        "tried": [item.model_dump(mode="json") for item in tried],
        "why": why,
        "what_to_do": [*what_to_do, *_reading(guides), *commands, *_advice(incident, tried)],
        "incident": incident.id,
        "run": incident.run_id,
        "plan": list(plan),
        "annotations": background.texts if background is not None else {},
        "links": [link.model_dump() for link in background.links] if background is not None else [],
        **_named(guides),
    }


def outcome_message(
    *,
    incident: Incident,
    outcome: AlertOutcome,
    why: str,
    tried: Sequence[Tried],
    ended_at: datetime,
    acted_at: datetime | None,
    told_as: MessageKind | None = None,
) -> JsonObject:
    """How an incident ended, for those who want to hear of it: how long it took, the remedy, the verdict.

    `told_as`: the same end is also told as a message of this kind, which not everybody gets.
    """
    ended = _ENDS.get(outcome, f"ended as {outcome}")
    if outcome is AlertOutcome.HEALED and tried:
        ended = f"UICI healed it with {tried[-1].remedy}"
    return {
        "kind": MessageKind.OUTCOME,
        "told_as": told_as,
        "title": f"{_what(incident)}: {ended}, after {_duration(incident.opened_at, ended_at)}",
        "outcome": outcome,
        "where": _where(incident.environment, incident.target),
        "since": _moment(incident.opened_at),
        "seconds": round((ended_at - incident.opened_at).total_seconds(), 3),
        "seconds_to_first_change": (
            round((acted_at - incident.opened_at).total_seconds(), 3) if acted_at is not None else None
        ),
        "tried": [item.model_dump(mode="json") for item in tried],
        "why": why,
        "what_to_do": [f"see everything known of it: uici incidents {incident.id}"],
        "incident": incident.id,
        "run": incident.run_id,
    }


def approval_message(
    *,
    run: str,
    incident: str | None,
    title: str,
    environment: str | None,
    target: str | None,
    remedy: str | None,
    reasons: Sequence[str],
    cid: str,
    plan: Sequence[JsonObject],
    expires_at: datetime,
    guides: Sequence[Further] = (),
) -> JsonObject:
    """A question to people, with the two answers as commands, and the guides by which they may decide."""
    wanted = f"approve {remedy or 'a plan'} on {target} in {environment}? Open until {_moment(expires_at)}"
    return {
        "kind": MessageKind.APPROVAL,
        "title": f"{title}: {wanted}" if title else wanted,
        "where": _where(environment, target),
        "why": "; ".join(reasons),
        "plan": list(plan),
        "cid": cid,
        "expires_at": expires_at.isoformat(),
        "what_to_do": [
            f"look at the exact calls: uici runs {run}",
            *_reading(guides),
            f"allow it: uici approve {run} --cid {cid}",
            f"refuse it: uici reject {run} --cid {cid}",
        ],
        "incident": incident,
        "run": run,
        **_named(guides),
    }


def asked_message(
    *,
    run: str,
    incident: str | None,
    operation: str,
    environment: str | None,
    target: str | None,
    why: str,
    findings: Sequence[Finding],
    guides: Sequence[Further] = (),
) -> JsonObject:
    """A step of a plan asks for a human, in its own words."""
    advice = [f"see everything known of it: uici incidents {incident}"] if incident else []
    return {
        "kind": MessageKind.ESCALATION,
        "title": f"{operation} on {target} in {environment}: a plan asks for a human",
        "what": {"findings": [{"name": item.name, "summary": item.summary} for item in findings]},
        "where": _where(environment, target),
        "why": why,
        "what_to_do": [*_reading(guides), *advice, f"see what the run did, call by call: uici runs {run}"],
        "incident": incident,
        "run": run,
        **_named(guides),
    }


def run_message(
    *, kind: MessageKind, run: str, title: str, environment: str | None, target: str | None, why: str,
    plan: Sequence[JsonObject] = (), incident: str | None = None,
) -> JsonObject:  # fmt: skip
    """What is told of a run that belongs to no incident, or of which nothing more is known."""
    return {
        "kind": kind,
        "title": title,
        "where": _where(environment, target),
        "why": why,
        "plan": list(plan),
        "what_to_do": [f"see what the run did, call by call: uici runs {run}"],
        "incident": incident,
        "run": run,
    }


def dependents_message(
    *, environment: str, root: str, incident: str | None, why: str, dependents: Sequence[str]
) -> JsonObject:
    """All that wait for something which UICI cannot heal, in one message; `dependents` as ENVIRONMENT/TARGET."""
    advice = [f"see everything known of it: uici incidents {incident}"] if incident else []
    return {
        "kind": MessageKind.ESCALATION,
        "title": f"{root} in {environment} is not healed, and {len(dependents)} that depend on it are broken with it",
        "where": _where(environment, root),
        "why": why,
        "dependents": list(dependents),
        "what_to_do": [
            f"heal {root} first; nothing was done to {', '.join(dependents)}",
            *advice,
            f"if it is well, its look is wrong: uici doctor -e {environment}",
        ],
        "incident": incident,
    }


def brake_message(environment: str, why: str, failing: Sequence[str]) -> JsonObject:
    """UICI has stopped acting by itself where much fails at once; `failing` is without what follows from it."""
    named = ", ".join(failing[:20]) + (f" and {len(failing) - 20} more" if len(failing) > 20 else "")
    return {
        "kind": MessageKind.ESCALATION,
        "title": f"{why}; UICI acts there only on a person's word",
        "where": {"environment": environment, "target": None, "place": environment},
        "why": why,
        "what_to_do": [
            f"look for what these have in common: {named}",
            "see what waits: uici runs; allow a single one: uici approve RUN --cid CID",
            f"let UICI go on by itself: uici brakes --lift {environment}",
        ],
    }


def body_message(sender: str, how: str, why: str) -> JsonObject:
    """A body was refused, so that its alerts are unknown; `how` says what was wrong with it in a word or two."""
    return {
        "kind": MessageKind.ESCALATION,
        "title": f"a notification of {sender} was {how} and refused; its alerts are not known",
        "why": why,
        "what_to_do": ["look at Alertmanager for what fires: UICI does nothing about it"],
    }


def _reading(guides: Sequence[Further]) -> list[str]:
    return [guide.advice for guide in guides]


def _named(guides: Sequence[Further]) -> JsonObject:
    return {"guides": [guide.model_dump() for guide in guides]}


def _what(incident: Incident) -> str:
    return f"{incident.title} in {incident.environment or 'an unknown environment'}"


def _where(environment: str | None, target: str | None) -> JsonObject:
    place = f"{environment or 'unknown environment'}/{target or 'unknown target'}"
    return {"environment": environment, "target": target, "place": place}


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _duration(begin: datetime, end: datetime) -> str:
    seconds = max(0, round((end - begin).total_seconds()))
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def _command(step: Mapping[str, object], environment: str | None) -> str:
    """The command by which a person takes the same step, through the same guards."""
    words = ["uici", "run", str(step.get("operation")), str(step.get("target"))]
    parameters = step.get("parameters")
    if isinstance(parameters, Mapping):
        for name, value in parameters.items():
            words += ["-p", f"{name}={value}" if isinstance(value, str) else f"{name}:={json.dumps(value)}"]
    if environment:
        words += ["-e", environment]
    return shlex.join(words)


def _advice(incident: Incident, tried: Sequence[Tried]) -> list[str]:
    advice = [f"see everything known of it: uici incidents {incident.id}"]
    if incident.run_id is not None:
        advice.append(f"see what the run did, call by call: uici runs {incident.run_id}")
    advice.append(f"take all of it along for a ticket: uici incidents bundle {incident.id}")
    if incident.target is None:
        advice.append("find the broken service by the alert's labels, then name it in targets.yml so that it is found")
    if any(item.verdict is Verdict.INCONCLUSIVE for item in tried):
        advice.append("look whether the alert's own expression still holds: the target looked healthy")
    return advice
