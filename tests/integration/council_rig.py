"""A scripted model over real HTTP, and UICI that asks it: for the tests of its plans."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from tests.doubles.memory_executor import World
from tests.doubles.model_server import ModelServer, Said, serving
from tests.integration.runs_rig import POLICIES, alert, closed, running, send, site, told
from uici.model.alert import Alert
from uici.model.base import JsonObject

AUTO = POLICIES + "council_autonomy: auto\n"
ESCALATED = "escalated"
RESTART = {"operation": "restart_service", "target": "web", "parameters": {}}
PAYLOAD: JsonObject = {
    "version": "4",
    "groupKey": "{}",
    "receiver": "uici",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "Odd", "uici_target": "web"},
            "annotations": {},
            "startsAt": "2026-01-01T00:00:00Z",
            "fingerprint": "0123456789abcdef",
        }
    ],
}
PROSE = Said(text="Sure! I would restart the service.")
KEY = "model-key-which-must-not-be-shown"


def council(server: ModelServer, **more: object) -> str:
    settings = {"url": server.url, "bearer_token": "${env:COUNCIL_KEY}", **more}
    return f"runs: {{retry_seconds: 0.05}}\ncouncil: {json.dumps(settings)}\n"


def act(*steps: JsonObject, reasoning: str = "it is down; starting it anew helps", **more: object) -> Said:
    return Said(text=json.dumps({"reasoning": reasoning, "decision": {"kind": "act", "steps": list(steps), **more}}))


def look(*operations: JsonObject) -> Said:
    decision = {"kind": "look", "operations": list(operations)}
    return Said(text=json.dumps({"reasoning": "let me see", "decision": decision}))


def hand_over(because: str = "I do not know", **more: object) -> Said:
    decision = {"kind": "hand_over", "because": because, **more}
    return Said(text=json.dumps({"reasoning": "hm", "decision": decision}))


def in_turn(*said: Said) -> Callable[[JsonObject], Said]:
    """The answers one after another; the last again and again."""
    waiting = list(said)
    return lambda body: waiting.pop(0) if len(waiting) > 1 else waiting[0]


def resolved(program: str) -> Alert:
    return alert(program, "Odd", status="resolved")


@contextmanager
def trickling() -> Iterator[str]:
    """A server that sends one byte of its answer now and then, for far longer than anybody waits."""

    async def answer(scope: Scope, receive: Receive, send_part: Send) -> None:
        await send_part({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(50):
            await send_part({"type": "http.response.body", "body": b" ", "more_body": True})
            await asyncio.sleep(0.1)

    with serving(Starlette(routes=[Mount("/", answer)])) as port:
        yield f"http://127.0.0.1:{port}/v1"


def shown_to(server: ModelServer, number: int = 0) -> JsonObject:
    """The document of facts in a question."""
    document: JsonObject = json.loads(server.asked[number]["messages"][1]["content"])
    return document


def handled(
    folder: Path, world: World, server: ModelServer, *, policies: str = AUTO, name: str = "Odd", **settings: Any
) -> tuple[JsonObject, list[JsonObject]]:
    """What became of an alert that no strategy covers, and what people were told."""
    config = site(folder / "site", "web", "db", policies=policies, platform=council(server, **settings))
    with running(config, world) as uici:
        incident = closed(uici, send(uici, alert("web", name)))
        return incident, told(uici)


def events(incident: JsonObject, type_: str) -> list[JsonObject]:
    return [event["data"] for event in incident["timeline"] if event["type"] == type_]
