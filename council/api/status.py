"""`/readyz`, `/status/production` and `/metrics/production`: whether the council can answer, and how it fares."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.metadata import version

import structlog
from starlette.requests import Request
from starlette.responses import Response

from council.api.answering import json_response
from council.api.door import Door, Visitor
from council.budget.ledger import Spending
from council.budget.purse import Purse
from council.canary.canary import Canary
from council.learning.judging import LearnedJudge
from council.memory.fact_store import StoreAwayError
from council.memory.facts import Facts
from council.monitors.collecting import limits, meant
from council.monitors.windows import Windows, summary
from council.routing.pool import Member
from council.settings import AgentsFile, Route
from uici.model.base import JsonObject

_log = structlog.get_logger(__name__)
_CHECK_SECONDS = 2.0
"""How long a store may take to show that it can be written."""
_KEPT_SECONDS = 1.0
"""How long what was found of the stores is believed: who asks without a key shall not keep the disk busy."""


class Stores:
    """Whether what has to be kept can be written. Shared by all configurations of one process."""

    def __init__(self, purse: Purse, facts: Facts) -> None:
        self._checks: Mapping[str, Callable[[], None]] = {"state": purse.check, "memory": facts.check}
        self._looking: asyncio.Task[dict[str, str]] | None = None
        self._looked_at = float("-inf")
        self._said: dict[str, str] = {}
        """What was logged of each that cannot be written."""

    async def problems(self) -> Mapping[str, str]:
        """What is wrong with each that is not as it should be; at most one look is under way."""
        if self._looking is None or (self._looking.done() and time.monotonic() - self._looked_at >= _KEPT_SECONDS):
            self._looking = asyncio.get_running_loop().create_task(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> dict[str, str]:
        found = await asyncio.gather(*(self._problem(name, check) for name, check in self._checks.items()))
        self._looked_at = time.monotonic()
        return {name: problem for name, problem in zip(self._checks, found, strict=True) if problem}

    async def _problem(self, name: str, check: Callable[[], None]) -> str:
        try:
            await asyncio.wait_for(asyncio.to_thread(check), _CHECK_SECONDS)
        except TimeoutError:
            return f"{name}: nothing could be written within {_CHECK_SECONDS:g} s"
        except (sqlite3.Error, StoreAwayError) as error:
            # Why may say where it is, and who asks has no key.
            if (said := str(error)) != self._said.get(name):
                _log.error("store_not_written", store=name, error=said)
            self._said[name] = said
            return f"{name}: it cannot be written; the log says why"
        self._said.pop(name, None)
        return ""


@dataclass
class Life:
    """What is known of the process as a whole, over all its configurations."""

    began_at: float = field(default_factory=time.time)
    under_way: int = 0
    """Requests that count against `requests_at_once`."""
    configuration: JsonObject = field(default_factory=dict)
    """Since when the one in force is, and what was wrong with the last one that was not taken."""


class StatusRoutes:
    """The routes by which people, load balancers and dashboards see the council."""

    def __init__(
        self,
        settings: AgentsFile,
        door: Door,
        members: Mapping[str, Member],
        canary: Canary | None,
        facts: Facts,
        judge: LearnedJudge,
        purse: Purse,
        stores: Stores,
        windows: tuple[Windows, Windows],
        life: Life,
    ) -> None:
        """`windows` of the routes, and of the backends."""
        self._settings = settings
        self._door = door
        self._members = members
        self._canary = canary
        self._facts = facts
        self._judge = judge
        self._purse = purse
        self._stores = stores
        self._of_routes, self._of_backends = windows
        self._life = life

    async def ready(self, request: Request) -> Response:
        """`GET /readyz`: 503 with reasons where the next request would not be answered. Open: probes have no key."""
        reasons, lacking = await self._reasons()
        silent = [name for name, route in self._settings.routes.items() if not self._can_answer(route)]
        status = "not_ready" if reasons else "ready"
        document: JsonObject = {"status": status, "reasons": reasons, "lacking": lacking, "silent_routes": silent}
        return json_response(document, 503 if reasons else 200)

    async def status(self, request: Request) -> Response:
        """`GET /status/production`: everything that is in force, and how it stands. Spending of one's own tenant."""
        visitor = self._door.visitor(request)
        settings, facts = self._settings, self._facts
        reasons, lacking = await self._reasons()
        return json_response(
            {
                "version": version("uici"),
                "uptime_seconds": round(time.time() - self._life.began_at, 3),
                "ready": not reasons,
                "reasons": reasons,
                "lacking": lacking,
                "configuration": self._life.configuration,
                "requests": {"under_way": self._life.under_way, "at_once": settings.service.requests_at_once},
                "routes": {name: self._route(route) for name, route in settings.routes.items()},
                "backends": {name: self._backend(name, member) for name, member in self._members.items()},
                "budget": self._budget(await asyncio.to_thread(self._purse.spending), visitor),
                "canary": None if self._canary is None else await self._canary.document(),
                "memory": {
                    "waiting": facts.waiting,
                    "most_waiting": settings.memory.most_waiting,
                    "flush_seconds": settings.memory.flush_seconds,
                    "usable": facts.usable,
                    "vectors": dict(await asyncio.to_thread(facts.kinds)),
                },
                "calibration": {
                    stage: {"error": round(fit.error, 4), "outcomes": fit.outcomes}
                    for stage, fit in self._judge.fits.items()
                },
            }
        )

    async def figures(self, request: Request) -> Response:
        """`GET /metrics/production`: the last windows as JSON; by route, by backend, and main and canary apart."""
        self._door.visitor(request)
        return json_response(await asyncio.to_thread(self._figures))

    def _figures(self) -> JsonObject:
        sides: dict[str, list[str]] = {"main": [], "canary": []}
        for name, member in self._members.items():
            sides[member.pool].append(name)
        if self._canary is None:
            del sides["canary"]
        return {
            "routes": {name: summary([self._of_routes.of(name)]) for name in self._settings.counted},
            "backends": {name: summary([self._of_backends.of(name)]) for name in self._members},
            "sides": {side: summary(map(self._of_backends.of, names)) for side, names in sides.items()},
        }

    async def _reasons(self) -> tuple[list[str], list[str]]:
        """Why the next request may not be answered; and what else is wrong, without which it is."""
        problems = dict(await self._stores.problems())
        memory = [problems.pop("memory")] if "memory" in problems else []
        found = list(problems.values())
        if not any(map(self._can_answer, self._settings.routes.values())):
            # One route that answers is a reason to send requests here.
            found.append("routes: every backend of every route has failed and is left alone for a while")
        if self._facts.waiting >= self._settings.memory.most_waiting:
            memory.append(f"memory: {self._facts.waiting} facts wait to be written, which is as many as may")
        return ([*found, *memory], []) if self._needs_memory() else (found, memory)

    def _needs_memory(self) -> bool:
        """Whether without it another host is to be asked: not where all hosts share it, and a model answers as well."""
        if self._settings.memory.redis is None:
            return True
        names = {name for route in self._settings.routes.values() for name in _asked(route)}
        return all(self._settings.backends[name].kind == "recall" for name in names)

    def _can_answer(self, route: Route) -> bool:
        return any(not self._members[name].breaker.open for name in _asked(route))

    def _route(self, route: Route) -> JsonObject:
        return {
            "can_answer": self._can_answer(route),
            "gate": route.gate,
            "stages": [{"name": stage.name, "backends": stage.backends} for stage in route.stages],
            "most_input_tokens": route.most_input_tokens,
            "most_output_tokens": route.most_output_tokens,
        }

    def _backend(self, name: str, member: Member) -> JsonObject:
        settings = self._settings.backends[name]
        return {
            "kind": settings.kind,
            "model": settings.model,
            "pool": member.pool,
            "free": member.price.free,
            "breaker": {
                "state": member.breaker.state,
                "failures": member.breaker.failures,
                "left_alone_seconds": round(member.breaker.wait_seconds, 3),
            },
        }

    def _budget(self, spending: Mapping[tuple[str, str, str], Spending], visitor: Visitor) -> list[JsonObject]:
        """Each limit of today, and what is left of it; of tenants, one's own, where one does not administer."""
        shown = []
        for scope, name, limit in limits(self._settings.budget):
            if scope == "tenant" and name != visitor.tenant and not visitor.administers:
                continue
            chosen = meant(spending, scope, name)
            spent, reserved = sum(each.spent for each in chosen), sum(each.reserved for each in chosen)
            left = max(Decimal(0), limit - spent - reserved)
            amounts = {"limit_usd": limit, "spent_usd": spent, "reserved_usd": reserved, "left_usd": left}
            shown.append(
                {"of": f"{scope} {name}".strip()} | {key: f"{Decimal(amount):f}" for key, amount in amounts.items()}
            )
        return shown


def _asked(route: Route) -> set[str]:
    """The backends that a route asks."""
    return {name for stage in route.stages for name, weight in stage.backends.items() if weight}
