"""Whose turn it is to write: SQLite has one writer at a time, and lets those who wait for it poll."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self


class Turns:
    """A lock that is handed over in order of arrival, the urgent before the others.

    The database's own lock is polled with growing pauses, so under load a writer without luck waits for seconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._urgent: deque[threading.Event] = deque()
        self._others: deque[threading.Event] = deque()

    @contextmanager
    def turn(self, *, urgent: bool = False) -> Iterator[None]:
        """Wait for the turn, and hand it on when the block ends. Not reentrant."""
        self.take(urgent=urgent)
        try:
            yield
        finally:
            self.hand_on()

    def take(self, *, urgent: bool = False) -> None:
        """Wait for the turn."""
        mine: threading.Event | None = None
        with self._lock:
            if self._taken:
                mine = threading.Event()
                (self._urgent if urgent else self._others).append(mine)
            self._taken = True
        if mine is not None:
            mine.wait()

    def hand_on(self) -> None:
        """Give the turn to the next who waits."""
        with self._lock:
            waiting = self._urgent or self._others
            if waiting:
                waiting.popleft().set()
            else:
                self._taken = False


_WRITING = ("INSERT", "UPDATE", "DELETE", "REPLACE")


class _Cursor(sqlite3.Cursor):
    connection: _InTurn

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        self.connection.before(sql)
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> Self:
        self.connection.before(sql)
        return super().executemany(sql, parameters)


class _InTurn(sqlite3.Connection):
    turns: ClassVar[Turns]
    has_turn = False

    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def before(self, sql: str) -> None:
        """Wait for the turn where the driver is about to begin a transaction."""
        if not self.has_turn and not self.in_transaction and sql.lstrip()[:7].upper().startswith(_WRITING):
            self.turns.take()
            self.has_turn = True

    def commit(self) -> None:
        super().commit()
        self._end_turn()  # a commit that fails is rolled back, and that ends the turn

    def rollback(self) -> None:
        try:
            super().rollback()
        finally:
            self._end_turn()

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._end_turn()

    def _end_turn(self) -> None:
        if self.has_turn:
            self.has_turn = False
            self.turns.hand_on()


def connection_in_turn(turns: Turns) -> type[sqlite3.Connection]:
    """Connections whose writing transactions wait for their turn, for a library that manages its transactions itself.

    The driver begins a transaction before the first statement that writes; the turn is handed on when it has ended.
    """
    return type("InTurn", (_InTurn,), {"turns": turns})
