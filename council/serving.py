"""The composition root: from agents.yml to a running council."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
import uvicorn
from starlette.applications import Starlette

from council.api.app import Api
from council.api.canary import CanaryRoutes
from council.api.door import Door, Visitor
from council.api.feedback import Feedback
from council.asking import Backend
from council.budget.ledger import Ledger
from council.budget.purse import Purse
from council.canary.canary import Canary
from council.canary.keeping import Weights
from council.canary.telling import Telling
from council.learning.judging import LearnedJudge
from council.learning.outcomes import Outcomes
from council.memory.facts import Facts
from council.memory.recalling import RecallBackend
from council.memory.texts import Language
from council.monitors.collecting import Backends, Budgets, Calibrations, CanaryFigures
from council.monitors.gpus import Gpus
from council.monitors.metrics import Metrics
from council.routing.breaker import Breaker
from council.routing.cascade import Cascade
from council.routing.pool import Member, Pool
from council.routing.remote import RemoteBackend
from council.settings import AgentsFile, Stage
from uici.access.secrets import resolve
from uici.model.masking import register_secret

_log = structlog.get_logger(__name__)
_KEY_BYTES = 32


def key_file(settings: AgentsFile, folder: Path | None) -> Path:
    """Where the key lies that is made when none is configured."""
    return _place(settings.state, folder).with_name("council.key")


def make_app(settings: AgentsFile, folder: Path | None) -> Starlette:
    """The application. Raises Problem for a secret that cannot be had, OSError for a state that cannot be written."""
    ledger = Ledger(_place(settings.state, folder), settings.budget)
    purse = Purse(ledger)
    language = Language(settings.memory.language, settings.memory.empty_words, settings.memory.kinds)
    facts = Facts(_place(settings.memory.state, folder), settings.memory, language)
    backends = {name: _backend(name, settings, facts, language) for name in settings.backends}
    members = {
        name: Member(backend, Breaker(settings.backends[name].breaker), settings.backends[name].price)
        for name, backend in backends.items()
    }
    outcomes = Outcomes(_place(settings.state, folder))
    judge = LearnedJudge(outcomes, settings.learning)
    for stage in {stage.name for route in settings.routes.values() for stage in route.stages}:
        judge.learn(stage)
    weights = Weights(_place(settings.state, folder))
    canary = Canary(settings.canary, weights) if settings.canary is not None else None
    if canary is not None:
        members[canary.settings.main].samples = canary.main
        members[canary.settings.backend].samples = canary.canary
        members[canary.settings.backend].pool = "canary"
    cascades = {}
    for name, route in settings.routes.items():
        pools = {stage.name: Pool(stage, members, purse, canary=canary) for stage in route.stages}
        cascades[name] = Cascade(route, pools, judge, tells_logprobs=lambda stage: _tells_logprobs(stage, settings))
    embedder = backends[settings.embeddings] if settings.embeddings is not None else None
    door = _door(settings, folder)
    metrics = Metrics()
    metrics.watch(Calibrations(judge), Budgets(ledger, settings.budget), Backends(members), Gpus())
    if canary is not None:
        metrics.watch(CanaryFigures(canary))
    app = Api(
        settings,
        door,
        cascades,
        embedder,
        facts,
        Feedback(outcomes, judge, keeps_questions=settings.learning.keeps_questions),
        metrics,
        None if canary is None else CanaryRoutes(settings, door, canary, *_sides(canary, members, purse)),
    ).app()
    telling = _telling(canary)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if telling is not None:
            telling.start()
        yield
        if telling is not None:
            await telling.close()
        for backend in backends.values():
            await backend.close()
        await purse.close()
        facts.close()
        outcomes.close()
        weights.close()

    app.router.lifespan_context = lifespan
    return app


def serve(settings: AgentsFile, folder: Path | None, *, listen: str | None = None) -> None:
    """Serve until SIGTERM or SIGINT; what is under way may end first."""
    host, _, port = (listen or settings.service.listen).rpartition(":")
    app = make_app(settings, folder)
    uvicorn.run(
        app,
        host=host.strip("[]"),
        port=int(port),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.service.shutdown_seconds),
    )


def _place(file: str, folder: Path | None) -> Path:
    """Where a file of the state lies: relative to the configuration's folder, else to the current one."""
    return (folder or Path.cwd()) / file


def _backend(name: str, settings: AgentsFile, facts: Facts, language: Language) -> Backend:
    given = settings.backends[name]
    if given.kind == "recall":
        return RecallBackend(name, facts, language)
    key = None if given.key is None else resolve(given.key, where=f"agents.yml: backends.{name}.key").reveal()
    return RemoteBackend(name, given, key)


def _sides(canary: Canary, members: Mapping[str, Member], purse: Purse) -> tuple[Pool, Pool]:
    """Main alone, and the canary alone."""
    names = (canary.settings.main, canary.settings.backend)
    main, other = (Pool(Stage(name="replay", backends={name: 1}), members, purse) for name in names)
    return main, other


def _telling(canary: Canary | None) -> Telling | None:
    if canary is None or canary.settings.tell is None:
        return None
    told = canary.settings.tell
    key = None if told.key is None else resolve(told.key, where="agents.yml: canary.tell.key").reveal()
    return Telling(canary, told, key)


def _tells_logprobs(stage: Stage, settings: AgentsFile) -> bool:
    return all("logprobs" in settings.backends[name].features for name in stage.backends)


def _door(settings: AgentsFile, folder: Path | None) -> Door:
    visitors = {
        resolve(caller.key, where=f"agents.yml: callers.{name}.key").reveal(): Visitor(
            name, caller.tenant or name, caller.administers
        )
        for name, caller in settings.callers.items()
    }
    if not visitors:
        visitors[_own_key(key_file(settings, folder))] = Visitor("local", "local", administers=True)
    return Door(visitors)


def _own_key(file: Path) -> str:
    """The key of an installation without callers, made at its first start; readable by its owner alone."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = "council_" + secrets.token_urlsafe(_KEY_BYTES)
        file.touch(mode=0o600)
        file.write_text(key + "\n")
        _log.info("key_made", file=str(file))
    key = file.read_text().strip()
    register_secret(key)
    return key
