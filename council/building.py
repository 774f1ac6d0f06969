"""From one configuration to what serves it: backends, cascades, the door and the routes.

What lives longer than a configuration (stores, counts, what is known of backends that stay) is in `Lasting`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import structlog
from prometheus_client.registry import Collector
from starlette.types import ASGIApp

from council.api.app import Api, Parts
from council.api.canary import CanaryRoutes
from council.api.completing import Completing
from council.api.compressing import Compressing
from council.api.door import Door, Visitor
from council.api.embedding import Embedding
from council.api.feedback import Feedback
from council.api.remembering import Remembering
from council.api.status import Life, StatusRoutes, Stores
from council.asking import Ask, Backend, Recalled
from council.budget.ledger import Ledger
from council.budget.purse import Purse
from council.canary.canary import Canary
from council.canary.keeping import Weights
from council.canary.telling import Telling
from council.learning.judging import LearnedJudge
from council.learning.outcomes import Outcomes
from council.memory.fact_sqlite import SqliteFacts
from council.memory.fact_store import FactStore
from council.memory.facts import Facts
from council.memory.guide_index import GuideIndex, SqliteIndex
from council.memory.guides import Guides
from council.memory.known import Known
from council.memory.memory import Memory
from council.memory.recalling import RecallBackend
from council.memory.texts import Language
from council.memory.vectors import Vectors
from council.monitors.collecting import Backends, Budgets, Calibrations, CanaryFigures
from council.monitors.gpus import Gpus
from council.monitors.metrics import Metrics
from council.monitors.windows import Windows
from council.routing.breaker import Breaker
from council.routing.cascade import Cascade, Recall
from council.routing.pool import Member, Pool, Watcher
from council.routing.remote import RemoteBackend
from council.settings import EMBEDDINGS, AgentsFile, Route, Stage
from council.settings import Backend as BackendSettings
from uici.access.secrets import resolve
from uici.model.errors import Problem, ProblemKind
from uici.model.masking import register_secret

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_KEY_BYTES = 32


class Lasting:
    """What all configurations of one process share."""

    def __init__(self, settings: AgentsFile, folder: Path | None) -> None:
        """Raises OSError and sqlite3.Error for a state that cannot be opened, CatalogueError for broken guides, Problem
        for what is not installed.
        """
        state = _place(settings.state, folder)
        self.folder = folder
        self.ledger = Ledger(state, settings.budget)
        self.purse = Purse(self.ledger)
        self.language = Language(settings.memory.language, settings.memory.empty_words, settings.memory.kinds)
        self.guides = _guides(settings, folder, self.language)
        self.facts = Facts(
            _fact_store(settings, folder),
            settings.memory,
            self.language,
            quoted=lambda text: self.guides is not None and self.guides.quotes(text),
            vectors=None if settings.memory.vectors is None else Vectors(settings.memory.vectors),
        )
        self.memory = Memory(self.facts, settings.memory)
        self.known = Known(self.memory, self.language, self.guides)
        self.outcomes = Outcomes(state)
        self.judge = LearnedJudge(self.outcomes, settings.learning)
        self.weights = Weights(state)
        self.metrics = Metrics()
        self.metrics.watch(Calibrations(self.judge), Gpus())
        self.of_routes, self.of_backends = Windows(), Windows()
        self.life = Life()
        self.metrics.follow(
            facts_waiting=lambda: self.facts.waiting,
            memory_usable=lambda: self.facts.usable,
            requests_in_flight=lambda: self.life.under_way,
        )
        self.stores = Stores(self.purse, self.facts)

    async def close(self) -> None:
        """Write what waits, and close all files."""
        await self.purse.close()
        self.facts.close()
        if self.guides is not None:
            self.guides.close()
        self.outcomes.close()
        self.weights.close()


@dataclass(frozen=True, slots=True)
class Connected:
    """A backend with what is known of it, which stays as long as its settings do."""

    settings: BackendSettings
    key: str | None
    backend: Backend
    breaker: Breaker
    embedding_breaker: Breaker
    """Of its embeddings: without these it may answer all the same."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A canary, and who tells of it; they stay as long as their settings do."""

    canary: Canary
    telling: Telling | None


@dataclass(eq=False)
class Generation:
    """One configuration, ready to serve."""

    settings: AgentsFile
    app: ASGIApp
    connected: Mapping[str, Connected]
    watched: Watched | None
    embedder: Backend | None
    collectors: tuple[Collector, ...]
    """Its metrics."""
    under_way: int = 0
    """Requests that began with it and have not ended."""


def key_file(settings: AgentsFile, folder: Path | None) -> Path:
    """Where the key lies that is made when none is configured."""
    return _place(settings.state, folder).with_name("council.key")


def built(settings: AgentsFile, lasting: Lasting, before: Generation | None = None) -> Generation:
    """What serves `settings`, with what can stay of `before`. Blocks. Raises Problem for a secret that is not there."""
    connected = {name: _connected(name, settings, lasting, before) for name in settings.backends}
    watched = _watched(settings, lasting, before)
    canary = None if watched is None else watched.canary
    members = {name: _member(name, each, canary, lasting) for name, each in connected.items()}
    for stage in {stage.name for route in settings.routes.values() for stage in route.stages}:
        if before is None or stage not in lasting.judge.fits:
            lasting.judge.learn(stage)
    cascades = {}
    for name, route in settings.routes.items():
        pools = {stage.name: Pool(stage, members, lasting.purse, canary=canary) for stage in route.stages}
        cascades[name] = Cascade(
            route,
            pools,
            lasting.judge,
            tells_logprobs=lambda stage: _tells_logprobs(stage, settings),
            recall=_recalling(lasting.known),
            remembers=lambda stage: all(settings.backends[each].kind == "recall" for each in stage.backends),
        )
    door = _door(settings, lasting.folder)
    remembering = Remembering(settings, door, lasting.memory, lasting.metrics)
    feedback = Feedback(lasting.outcomes, lasting.judge, keeps_questions=settings.learning.keeps_questions)
    compressing = Compressing(
        settings, lasting.memory, lasting.language, lasting.known, _summarising(settings, members, lasting)
    )
    of_routes = lasting.of_routes
    status = StatusRoutes(
        settings,
        door,
        members,
        canary,
        lasting.facts,
        lasting.judge,
        lasting.purse,
        lasting.stores,
        (of_routes, lasting.of_backends),
        lasting.life,
    )
    embedder = connected[settings.embeddings].backend if settings.embeddings is not None else None
    parts = Parts(
        settings=settings,
        door=door,
        completing=Completing(settings, door, cascades, remembering, feedback, lasting.metrics, of_routes, compressing),
        embedding=Embedding(settings, door, _embedding_pool(connected, settings, lasting), lasting.metrics, of_routes),
        remembering=remembering,
        feedback=feedback,
        metrics=lasting.metrics,
        status=status,
        canary=None if canary is None else CanaryRoutes(settings, door, canary, *_sides(canary, members, lasting)),
        life=lasting.life,
    )
    collectors: list[Collector] = [Budgets(lasting.ledger, settings.budget), Backends(members)]
    if canary is not None:
        collectors.append(CanaryFigures(canary))
    return Generation(settings, Api(parts).app(), connected, watched, embedder, tuple(collectors))


def _recalling(known: Known) -> Recall:
    async def recall(ask: Ask, route: Route, most_tokens: int) -> Recalled | None:
        if route.recall is None:
            return None
        return await known.recalled(ask, route.recall, route.bytes_per_token, most_tokens)

    return recall


def guides_folder(settings: AgentsFile, folder: Path | None) -> Path | None:
    """Where the guides lie that agent-0 quotes; None when it has none."""
    return None if settings.guides is None else _place(settings.guides.folder, folder)


def _guides(settings: AgentsFile, folder: Path | None, language: Language) -> Guides | None:
    if settings.guides is None:
        return None
    given = settings.guides
    index = SqliteIndex(_place(given.state, folder)) if given.redis is None else _redis_index(given.redis)
    return Guides(index, _place(given.folder, folder), language, settings.reload_seconds)


def _fact_store(settings: AgentsFile, folder: Path | None) -> FactStore:
    if settings.memory.redis is None:
        return SqliteFacts(_place(settings.memory.state, folder))

    def made(url: str) -> FactStore:
        from council.memory.fact_redis import RedisFacts

        return RedisFacts(url)

    return _in_redis(settings.memory.redis, "memory.redis", made)


def _redis_index(reference: str) -> GuideIndex:
    def made(url: str) -> GuideIndex:
        from council.memory.guide_redis import RedisIndex

        return RedisIndex(url)

    return _in_redis(reference, "guides.redis", made)


def _in_redis(reference: str, member: str, made: Callable[[str], T]) -> T:
    """What `made` makes of the URL that is referred to. Raises Problem, which never quotes it."""
    where = f"agents.yml: {member}"
    url = resolve(reference, where=where).reveal()
    try:
        return made(url)
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "redis_missing",
            f"{member} needs the client of Redis, which is not installed",
            where=where,
            hint="pip install 'uici[redis]'",
        ) from None
    except ValueError:
        # What redis-py says may quote a part of the URL, which holds a password.
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "wrong_url",
            f"{member} is no URL of a Redis",
            where=where,
            hint="write redis://HOST:PORT/DATABASE, rediss://… or unix:///PATH, with a password percent-encoded",
        ) from None


def _place(file: str, folder: Path | None) -> Path:
    """Where a file of the state lies: relative to the configuration's folder, else to the current one."""
    return (folder or Path.cwd()) / file


def _connected(name: str, settings: AgentsFile, lasting: Lasting, before: Generation | None) -> Connected:
    given = settings.backends[name]
    key = None if given.key is None else resolve(given.key, where=f"agents.yml: backends.{name}.key").reveal()
    known = None if before is None else before.connected.get(name)
    if known is not None and (known.settings, known.key) == (given, key):
        return known
    backend: Backend
    if given.kind == "recall":
        backend = RecallBackend(name, lasting.facts, lasting.language, lasting.guides, lasting.memory)
    else:
        backend = RemoteBackend(name, given, key)
    return Connected(given, key, backend, Breaker(given.breaker), Breaker(given.breaker))


def _member(name: str, connected: Connected, canary: Canary | None, lasting: Lasting) -> Member:
    pool: Literal["main", "canary"] = "main"
    watchers: list[Watcher] = [lasting.of_backends.of(name)]
    if canary is not None and name == canary.settings.main:
        watchers.append(canary.main)
    if canary is not None and name == canary.settings.backend:
        watchers.append(canary.canary)
        pool = "canary"
    return Member(connected.backend, connected.breaker, connected.settings.price, pool, tuple(watchers))


def _watched(settings: AgentsFile, lasting: Lasting, before: Generation | None) -> Watched | None:
    if settings.canary is None:
        return None
    if before is not None and before.watched is not None and before.settings.canary == settings.canary:
        return before.watched
    canary = Canary(settings.canary, lasting.weights)
    told = settings.canary.tell
    if told is None:
        return Watched(canary, None)
    key = None if told.key is None else resolve(told.key, where="agents.yml: canary.tell.key").reveal()
    return Watched(canary, Telling(canary, told, key))


def _sides(canary: Canary, members: Mapping[str, Member], lasting: Lasting) -> tuple[Pool, Pool]:
    """Main alone, and the canary alone."""
    names = (canary.settings.main, canary.settings.backend)
    main, other = (Pool(Stage(name="replay", backends={name: 1}), members, lasting.purse) for name in names)
    return main, other


def _embedding_pool(connected: Mapping[str, Connected], settings: AgentsFile, lasting: Lasting) -> Pool | None:
    name = settings.embeddings
    if name is None:
        return None
    member = Member(connected[name].backend, connected[name].embedding_breaker, connected[name].settings.price)
    return Pool(Stage(name=EMBEDDINGS, backends={name: 1}), {name: member}, lasting.purse)


def _summarising(settings: AgentsFile, members: Mapping[str, Member], lasting: Lasting) -> dict[str, Pool]:
    """Who summarises for each route that has somebody for it."""
    named = {name: route.compress.by for name, route in settings.routes.items() if route.compress is not None}
    return {
        name: Pool(Stage(name="context", backends={by: 1}), members, lasting.purse)
        for name, by in named.items()
        if by is not None
    }


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
