"""One stage's backends, of which one answers: chosen by weight, and asked again before there is any content."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Generic, Literal, Protocol, TypeVar

from council.asking import Answer, Ask, Backend, BackendError, Chunks, Usage
from council.budget.ledger import Reservation
from council.budget.purse import Purse
from council.canary.canary import Canary
from council.routing.breaker import Breaker
from council.settings import Price, Stage
from uici.model.base import JsonObject

T = TypeVar("T", Answer, Chunks)


class Watcher(Protocol):
    """What notes how a backend does."""

    def answered(self, seconds: float, cost: Decimal) -> None:
        """A request that had its first content after so long, and cost so many dollars."""

    def failed(self) -> None:
        """A request that the backend is to blame for having no answer."""


@dataclass(slots=True)
class Member:
    """A backend with what is known of it."""

    backend: Backend
    breaker: Breaker
    price: Price
    pool: Literal["main", "canary"] = "main"
    """Whose budget: of the main backends, or of the canary."""
    watchers: tuple[Watcher, ...] = ()
    """Who notes how it did."""


@dataclass(slots=True)
class Won(Generic[T]):
    """What one member gave."""

    member: Member
    reservation: Reservation | None
    given: T
    seconds: float
    """Until its first content."""


@dataclass(slots=True)
class Paid:
    """What an answer was worth; of a stream known at its end."""

    usage: Usage | None = None
    cost: Decimal = Decimal(0)
    broke: bool = False
    """Whether it is a stream that its backend broke off."""


class Pool:
    """All that a stage needs to get one answer."""

    def __init__(
        self,
        stage: Stage,
        members: Mapping[str, Member],
        purse: Purse,
        *,
        canary: Canary | None = None,
        draw: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage = stage
        self._members = members
        self._purse = purse
        self._canary = canary
        self._closing: set[asyncio.Task[None]] = set()
        self._draw = draw or random.Random()  # noqa: S311 # jitter, and which of several backends
        self._clock = clock

    async def answer(self, ask: Ask, body: JsonObject) -> tuple[Won[Answer], Paid]:
        """One whole answer. Raises BackendError, BudgetError."""
        won = await self._won(
            ask,
            body,
            lambda backend: backend.embed(body) if ask.kind == "embeddings" else backend.answer(ask, body),
        )
        usage = won.given.usage
        paid = Paid(usage, self._purse.settle(won.reservation, won.member.price, usage))
        for watcher in won.member.watchers:
            watcher.answered(won.seconds, paid.cost)
        return won, paid

    async def stream(self, ask: Ask, body: JsonObject) -> tuple[Won[Chunks], Paid]:
        """A stream from its first content on. Raises BackendError, BudgetError."""
        won = await self._won(ask, body, lambda backend: backend.stream(ask, body))
        paid = Paid()
        return replace(won, given=self._counted(won, paid)), paid

    async def _counted(self, won: Won[Chunks], paid: Paid) -> Chunks:
        """The chunks; at their end, however they end, what they cost is settled."""
        try:
            async for chunk in won.given:
                if chunk.get("usage"):
                    paid.usage = Usage.of(chunk["usage"])
                yield chunk
        except BackendError as error:
            if error.faulty:
                won.member.breaker.failed()
                paid.broke = True
            raise
        finally:
            paid.cost = self._purse.settle(won.reservation, won.member.price, paid.usage)
            for watcher in won.member.watchers:
                if paid.broke:
                    watcher.failed()
                else:
                    watcher.answered(won.seconds, paid.cost)
            await won.given.aclose()

    async def _won(self, ask: Ask, body: JsonObject, how: Callable[[Backend], Awaitable[T]]) -> Won[T]:
        try:
            async with asyncio.timeout(ask.due - self._clock()):
                return await self._tried(ask, body, how)
        except TimeoutError:
            raise BackendError(
                "deadline", "there was no content before the deadline", again=False, faulty=False, charged=True
            ) from None

    async def _tried(self, ask: Ask, body: JsonObject, how: Callable[[Backend], Awaitable[T]]) -> Won[T]:
        """Ask until somebody answers or all attempts are used up."""
        used: list[Member] = []
        member = self._chosen(used)
        if member is not None and self._canary is not None:
            await self._canary.look()
            member = self._or_canary(member, ask, self._canary)
        while member is not None:
            used.append(member)
            try:
                return await self._hedged(ask, body, how, member, used)
            except BackendError as error:
                # Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
                pause = self._draw.uniform(0, self._stage.backoff_seconds * 2 ** (len(used) - 1))
                if not error.again or len(used) >= self._stage.attempts or self._clock() + pause >= ask.due:
                    raise
                await asyncio.sleep(pause)
                member = self._chosen(used)
                if member is None:
                    raise
        raise self._all_left_alone()

    async def _hedged(
        self, ask: Ask, body: JsonObject, how: Callable[[Backend], Awaitable[T]], member: Member, used: list[Member]
    ) -> Won[T]:
        """The answer of `member`, or of a second one that was asked because the first took too long."""
        if self._stage.hedge_seconds is None:
            return await self._asked(ask, body, how, member)
        loop = asyncio.get_running_loop()
        running = {loop.create_task(self._asked(ask, body, how, member))}
        try:
            done, running = await asyncio.wait(running, timeout=self._stage.hedge_seconds)
            if not done and (second := self._chosen(used)) is not None:
                used.append(second)
                running.add(loop.create_task(self._asked(ask, body, how, second)))
            while True:
                if not done:
                    done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                good = [task for task in done if not task.cancelled() and task.exception() is None]
                if good:
                    running.update(good[1:])
                    return good[0].result()
                if not running:
                    return done.pop().result()  # raises what the last one failed with
                done = set()
        finally:
            for task in running:
                task.cancel()
                task.add_done_callback(self._unwanted)

    def _unwanted(self, task: asyncio.Task[Won[T]]) -> None:
        """What came in too late is closed, and counts at its worst or as it was used."""
        if task.cancelled() or task.exception() is not None:
            return
        won = task.result()
        usage = won.given.usage if isinstance(won.given, Answer) else None
        self._purse.settle(won.reservation, won.member.price, usage)
        if not isinstance(won.given, Answer):
            closing = asyncio.get_running_loop().create_task(won.given.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _asked(
        self, ask: Ask, body: JsonObject, how: Callable[[Backend], Awaitable[T]], member: Member
    ) -> Won[T]:
        """One attempt at one member, paid for."""
        reservation = await self._purse.reserve(ask, body, member.price, member.pool)
        if not member.breaker.enter():
            self._purse.release(reservation)
            raise self._all_left_alone()
        began = self._clock()
        try:
            given = await how(member.backend)
        except BackendError as error:
            if error.faulty:
                member.breaker.failed()
                for watcher in member.watchers:
                    watcher.failed()
            else:
                member.breaker.left(error.retry_seconds)
            if error.charged:
                self._purse.settle(reservation, member.price, None)
            else:
                self._purse.release(reservation)
            raise
        except BaseException:
            # Whoever asked has gone, or the time is up.
            member.breaker.left()
            self._purse.settle(reservation, member.price, None)
            raise
        member.breaker.succeeded()
        return Won(member, reservation, given, self._clock() - began)

    def _chosen(self, used: list[Member]) -> Member | None:
        """One that may be asked: drawn by weight among those not used before, else among all."""
        free = [
            name for name, weight in self._stage.backends.items() if weight and not self._members[name].breaker.open
        ]
        fresh = [name for name in free if all(self._members[name] is not member for member in used)]
        names = fresh or free
        if not names:
            return None
        weights = [self._stage.backends[name] for name in names]
        return self._members[self._draw.choices(names, weights)[0]]

    def _or_canary(self, member: Member, ask: Ask, canary: Canary) -> Member:
        """The canary where it is its turn, and it is not left alone."""
        other = self._members.get(canary.settings.backend)
        if other is None or other.breaker.open or not canary.is_canarys(member.backend.name, ask.tenant, ask.session):
            return member
        return other

    def _all_left_alone(self) -> BackendError:
        waits = [self._members[name].breaker.wait_seconds for name in self._stage.backends]
        return BackendError(
            "backends_left_alone",
            f"every backend of the stage {self._stage.name} has just failed and is left alone for a while",
            again=True,
            faulty=False,
            charged=False,
            retry_seconds=min(waits),
        )
