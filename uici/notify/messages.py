"""What humans are told: what is wrong, where, what was tried, why UICI stopped, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from uici.model.base import Frozen, JsonObject
from uici.model.incident import Finding, Incident
from uici.model.masking import mask
from uici.model.verdict import Verdict


class Tried(Frozen):
    """One remedy that was tried, and what came of it."""

    remedy: str
    verdict: Verdict | None = None
    undone: bool = False
    detail: str = ""


_TITLES = {
    "escalation": "UICI needs a human",
    "refused": "UICI may not act, so nothing was done",
    "proposal": "UICI proposes a remedy, and does nothing by itself",
}


def incident_message(
    *,
    kind: str,
    incident: Incident,
    why: str,
    findings: Sequence[Finding] = (),
    tried: Sequence[Tried] = (),
    what_to_do: Sequence[str] = (),
    secrets: Collection[str] = (),
) -> JsonObject:
    """What a person is told of an incident that ended; `kind` is `escalation`, `refused` or `proposal`. Masked.

    `why` says why UICI does not go on by itself; `what_to_do` comes before the advice that always holds; `secrets`
    are values that must not appear.
    """
    place = f"{incident.environment or 'unknown environment'}/{incident.target or 'unknown target'}"
    message: JsonObject = {
        "kind": kind,
        "title": f"{incident.title}: {_TITLES[kind]}",
        "what": {
            "incident": incident.id,
            "title": incident.title,
            "severity": incident.severity,
            "opened_at": incident.opened_at.isoformat(),
            "findings": [{"name": item.name, "summary": item.summary, "evidence": item.evidence} for item in findings],
        },
        "where": {"environment": incident.environment, "target": incident.target, "place": place},
        "tried": [item.model_dump(mode="json") for item in tried],
        "why": why,
        "what_to_do": [*what_to_do, *_advice(incident, tried)],
        "run": incident.run_id,
    }
    message["text"] = _text(message, place, findings, tried)
    return dict(mask(message, secrets))


def _advice(incident: Incident, tried: Sequence[Tried]) -> list[str]:
    advice = [f"see everything known of it: uici incidents {incident.id}"]
    if incident.run_id is not None:
        advice.append(f"see what the run did, call by call: uici runs {incident.run_id}")
    if incident.target is None:
        advice.append("find the broken service by the alert's labels, then name it in targets.yml so that it is found")
    if any(item.verdict is Verdict.INCONCLUSIVE for item in tried):
        advice.append("look whether the alert's own expression still holds: the target looked healthy")
    return advice


def _text(message: JsonObject, place: str, findings: Sequence[Finding], tried: Sequence[Tried]) -> str:
    lines = [str(message["title"]), f"Where: {place}", f"Why: {message['why']}"]
    lines.append(f"Found: {', '.join(item.name for item in findings) or 'nothing'}")
    outcomes = [f"{item.remedy} ({item.verdict or 'no verdict'}{', undone' if item.undone else ''})" for item in tried]
    lines.append(f"Tried: {', '.join(outcomes) or 'nothing'}")
    lines += [f"Do: {step}" for step in message["what_to_do"]]
    return "\n".join(lines)
