"""The ledger as the event loop uses it: reserving waits, settling does not."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from decimal import Decimal

import structlog

from council.asking import Ask, Usage
from council.budget.ledger import Exhausted, Ledger, Reservation, Spending, cost, dollars
from council.settings import Budget, Price
from uici.model.base import JsonObject

EXHAUSTED = "insufficient_quota"
UNPRICED = "unpriced_input"
UNREADABLE = "budget_unreadable"
_log = structlog.get_logger(__name__)


class BudgetError(Exception):
    """A request cannot be paid. The text reaches clients."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Purse:
    """What requests are paid from."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._settling: set[asyncio.Task[None]] = set()

    async def reserve(self, ask: Ask, body: JsonObject, price: Price, pool: str) -> Reservation | None:
        """Hold the most that `body` can cost; None where it costs nothing. Raises BudgetError."""
        if price.free:
            return None
        if ask.has_more_than_text:
            raise BudgetError(UNPRICED, "what is no text has no known number of tokens, so its cost cannot be reserved")
        amount = cost(price, ask.input_tokens(1.0) * ask.prompts, _most_output(ask, body) * ask.answers * ask.prompts)
        try:
            found = await asyncio.to_thread(self._ledger.reserve, ask.route, ask.tenant, pool, amount)
        except sqlite3.Error as error:
            _log.error("budget_unreadable", error=str(error))
            raise BudgetError(UNREADABLE, "the budget cannot be read, so nothing that costs money is asked") from None
        if isinstance(found, Exhausted):
            raise BudgetError(
                EXHAUSTED, f"the budget of this {found.limit} has ${found.left.normalize():f} left for today"
            )
        return found

    def settle(self, reservation: Reservation | None, price: Price, usage: Usage | None) -> Decimal:
        """End a reservation with what was used; None where nobody can say. The cost in dollars, as it counts."""
        if reservation is None:
            return Decimal(0)
        amount: int | None = None
        if usage is not None and usage.input_tokens is not None and usage.output_tokens is not None:
            amount = cost(price, usage.input_tokens, usage.output_tokens)
        self._end(reservation, amount)
        return dollars(reservation.amount if amount is None else amount)

    def release(self, reservation: Reservation | None) -> None:
        """End a reservation of which nothing was spent."""
        if reservation is not None:
            self._end(reservation, 0)

    def use(self, budget: Budget) -> None:
        """Other limits, from now on; what is reserved stays."""
        self._ledger.use(budget)

    def spending(self) -> Mapping[tuple[str, str, str], Spending]:
        """What was spent today, by route, tenant and pool. Blocks."""
        return self._ledger.spending()

    def check(self) -> None:
        """Raises sqlite3.Error when nothing could be reserved. Blocks."""
        self._ledger.check()

    def _end(self, reservation: Reservation, amount: int | None) -> None:
        task = asyncio.get_running_loop().create_task(self._settled(reservation, amount))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settled(self, reservation: Reservation, amount: int | None) -> None:
        try:
            await asyncio.to_thread(self._ledger.settle, reservation, amount)
        except sqlite3.Error as error:
            # It lapses and then counts at its worst.
            _log.error("budget_not_settled", error=str(error))

    async def close(self) -> None:
        """Wait for what is being settled, and close the ledger."""
        await asyncio.gather(*self._settling)
        self._ledger.close()


def _most_output(ask: Ask, body: JsonObject) -> int:
    """How many tokens one answer may have."""
    if ask.kind == "embeddings":
        return 0
    return int(body["max_tokens" if ask.kind == "completions" else "max_completion_tokens"])
