"""Reservations and spending of a day, correct over several processes and after a crash of any of them.

Before a request that costs something is sent, the most that it can cost is reserved, in one transaction that sees every
other process's; afterwards it is settled with what it did cost. What nobody settles, because its process was killed or
the backend never said, counts as spent at its worst: money that may have been spent is never given out again.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

from council.settings import Budget, Price
from council.state import check_writable, immediate, opened

_NANO = Decimal(1_000_000_000)
"""Counted in whole thousand-millionths of a dollar: sums of fractions would not come out even."""
_KEPT_DAYS = 92
_TABLES = """
CREATE TABLE IF NOT EXISTS spending (
  day TEXT NOT NULL, route TEXT NOT NULL, tenant TEXT NOT NULL, pool TEXT NOT NULL,
  requests INTEGER NOT NULL, spent INTEGER NOT NULL, at_worst INTEGER NOT NULL,
  PRIMARY KEY (day, route, tenant, pool)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reservations (
  id TEXT PRIMARY KEY, day TEXT NOT NULL, route TEXT NOT NULL, tenant TEXT NOT NULL, pool TEXT NOT NULL,
  amount INTEGER NOT NULL, lapses REAL NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money that is held for one request."""

    id: str
    amount: int
    """In thousand-millionths of a dollar."""


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Why there is no reservation: which limit, and what is left of it, in dollars."""

    limit: str
    left: Decimal


@dataclass(frozen=True, slots=True)
class Spending:
    """What a day cost, in dollars."""

    requests: int
    spent: Decimal
    at_worst: Decimal
    """Of `spent`, what was never settled and so counts at its worst."""
    reserved: Decimal
    """Beside `spent`, what is held for requests under way."""


def cost(price: Price, input_tokens: int, output_tokens: int) -> int:
    """In thousand-millionths of a dollar, rounded up."""
    dollars = (price.input_per_million * input_tokens + price.output_per_million * output_tokens) / 1_000_000
    return int(((dollars + price.request) * _NANO).to_integral_value(ROUND_CEILING))


def dollars(amount: int) -> Decimal:
    """The amount in dollars."""
    return Decimal(amount) / _NANO


class Ledger:
    """One file that all processes share. Methods block; safe from several threads."""

    def __init__(self, file: Path, budget: Budget, clock: Callable[[], float] = time.time) -> None:
        self._budget = budget
        self._clock = clock
        self._lock = threading.Lock()
        self._db = opened(file, _TABLES)
        self._refusals: Counter[str] = Counter()

    def reserve(self, route: str, tenant: str, pool: str, amount: int) -> Reservation | Exhausted:
        """Hold `amount`, if each limit that applies has so much left. `pool` tells main and canary apart.

        Raises sqlite3.Error when the file cannot be written; then nothing is held.
        """
        now = self._clock()
        day = _day(now)
        with self._lock, immediate(self._db):
            self._lapse(now)
            for name, limit, chosen in self._limits(route, tenant, pool):
                left = _nano(limit) - self._held(day, chosen)
                if amount > left:
                    self._refusals[name] += 1
                    return Exhausted(name, dollars(max(0, left)))
            reservation = Reservation(uuid.uuid4().hex, amount)
            self._db.execute(
                "INSERT INTO reservations VALUES (?, ?, ?, ?, ?, ?, ?)",
                (reservation.id, day, route, tenant, pool, amount, now + self._budget.lease_seconds),
            )
        return reservation

    def settle(self, reservation: Reservation, amount: int | None) -> None:
        """End a reservation with what was spent, however much; None where nobody can say, which counts as all of it."""
        with self._lock, immediate(self._db):
            # One that has lapsed was counted already.
            row = self._db.execute(
                "DELETE FROM reservations WHERE id = ? RETURNING day, route, tenant, pool, amount", (reservation.id,)
            ).fetchone()
            if row is not None:
                *place, held = row
                self._count(place, held if amount is None else amount, held if amount is None else 0)

    def spending(self, day: str | None = None) -> Mapping[tuple[str, str, str], Spending]:
        """What was spent on a day (UTC, `YYYY-MM-DD`; today), by route, tenant and pool."""
        now = self._clock()
        day = day or _day(now)
        with self._lock, immediate(self._db):
            self._lapse(now)
            rows = self._db.execute(
                "SELECT route, tenant, pool, sum(requests), sum(spent), sum(at_worst), sum(held) FROM ("
                " SELECT route, tenant, pool, requests, spent, at_worst, 0 AS held FROM spending WHERE day = ?"
                " UNION ALL SELECT route, tenant, pool, 0, 0, 0, amount FROM reservations WHERE day = ?"
                ") GROUP BY 1, 2, 3",
                (day, day),
            ).fetchall()
        return {
            (route, tenant, pool): Spending(requests, dollars(spent), dollars(at_worst), dollars(held))
            for route, tenant, pool, requests, spent, at_worst, held in rows
        }

    def refusals(self) -> Mapping[str, int]:
        """How often each limit had too little left, since this process began."""
        with self._lock:
            return dict(self._refusals)

    def use(self, budget: Budget) -> None:
        """Other limits, from now on."""
        with self._lock:
            self._budget = budget

    def check(self) -> None:
        """Raises sqlite3.Error when the file cannot be written."""
        with self._lock:
            check_writable(self._db)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _limits(self, route: str, tenant: str, pool: str) -> list[tuple[str, Decimal, Mapping[str, str]]]:
        budget = self._budget
        found: list[tuple[str, Decimal | None, Mapping[str, str]]] = [
            ("day", budget.day, {}),
            (f"route {route}", budget.routes.get(route), {"route": route}),
            (f"tenant {tenant}", budget.tenants.get(tenant), {"tenant": tenant}),
            (f"pool {pool}", budget.pools.get(pool), {"pool": pool}),
        ]
        return [(name, limit, chosen) for name, limit, chosen in found if limit is not None]

    def _held(self, day: str, chosen: Mapping[str, str]) -> int:
        """Spent and reserved."""
        where = " AND ".join(["day = :day", *(f"{name} = :{name}" for name in chosen)])
        (total,) = self._db.execute(
            # The names of columns are those of `_limits`.
            f"SELECT coalesce((SELECT sum(spent) FROM spending WHERE {where}), 0)"  # noqa: S608
            f" + coalesce((SELECT sum(amount) FROM reservations WHERE {where}), 0)",
            {"day": day, **chosen},
        ).fetchone()
        return int(total)

    def _lapse(self, now: float) -> None:
        """Count what nobody settled in time."""
        for *place, amount in self._db.execute(
            "DELETE FROM reservations WHERE lapses <= ? RETURNING day, route, tenant, pool, amount", (now,)
        ).fetchall():
            self._count(place, amount, amount)
        self._db.execute("DELETE FROM spending WHERE day < ?", (_day(now - _KEPT_DAYS * 86_400),))

    def _count(self, place: list[str], spent: int, at_worst: int) -> None:
        self._db.execute(
            "INSERT INTO spending VALUES (?, ?, ?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET"
            " requests = requests + 1, spent = spent + excluded.spent, at_worst = at_worst + excluded.at_worst",
            (*place, spent, at_worst),
        )


def _nano(amount: Decimal) -> int:
    return int((amount * _NANO).to_integral_value())


def _day(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).date().isoformat()
