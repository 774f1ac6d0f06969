"""Showing people a change as a patch. Nobody but people applies it."""

from __future__ import annotations

from difflib import unified_diff

from uici.model.base import JsonObject
from uici.model.settings import MessageKind
from uici.runs import records
from uici.runs.data import RunData
from uici.runs.services import Services
from uici.store.outbox import enqueue


def propose_change(services: Services, data: RunData, position: str, arguments: JsonObject) -> str:
    """Tell people of the change, keep it with the incident, and return its patch. Once, however often it is called."""
    patch = patch_of(arguments["file"], arguments["current"], arguments["proposed"])
    message: JsonObject = {
        "title": f"UICI proposes a change of {arguments['rule']} in {arguments['file']}, and does nothing by itself",
        "why": arguments["because"],
        "where": {"environment": data.environment, "target": data.target},
        "patch": patch,
        "what_to_do": [
            f"look whether you agree; if so, change {arguments['file']} as you always do, for example with patch -p1",
            f"see everything known of it: uici incidents {data.incident_id}",
        ],
        "run": data.run_id,
    }
    with services.writing() as connection:
        new = enqueue(
            connection,
            f"step:{data.run_id}:{position}",
            MessageKind.PROPOSAL,
            message,
            services.clock.now(),
            severity=records.severity_of(connection, data.incident_id),
            incident=data.incident_id,
            run=data.run_id,
        )
        if new:
            services.note(
                connection,
                data,
                "change_proposed",
                file=arguments["file"],
                rule=arguments["rule"],
                because=arguments["because"],
                patch=patch,
            )
    return patch


def patch_of(file: str, current: str, proposed: str) -> str:
    """A unified diff from `current` to `proposed`, both pieces of `file`; as `git diff` names the two sides."""
    lines = unified_diff(_lines(current), _lines(proposed), f"a/{file}", f"b/{file}")
    return "".join(lines)


def _lines(text: str) -> list[str]:
    return [f"{line}\n" for line in text.splitlines()]
