"""All writers of one process stand in one line, the durable engine's connections among them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import Engine, event
from sqlalchemy.exc import IntegrityError

from tests.waiting import until
from uici.store.database import Store

DEADLINE = 20.0
INSERT = sqlalchemy.text("INSERT INTO things (name) VALUES (:name)")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(f"sqlite:///{tmp_path / 'state.db'}")
    store.migrate()
    with store.write() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"))
    return store


def names(store: Store) -> list[str]:
    with store.read() as connection:
        return [row.name for row in connection.execute(sqlalchemy.text("SELECT name FROM things ORDER BY id"))]


def test_the_engines_write_waits_in_line_and_never_meets_the_databases_lock(store: Store) -> None:
    engine = store.engine_for_runs()
    reached: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(connection: object, cursor: object, statement: str, *more: object) -> None:
        reached.append(statement)

    def write() -> None:
        with engine.begin() as connection:
            connection.execute(INSERT, {"name": "engine"})

    other = threading.Thread(target=write)
    with store.write() as connection:
        connection.execute(INSERT, {"name": "own"})
        other.start()
        until(lambda: reached, "the engine's statement")
        assert other.is_alive()
    other.join(DEADLINE)
    assert not other.is_alive()
    assert names(store) == ["own", "engine"]
    close(engine, store)


def test_reading_needs_no_turn(store: Store) -> None:
    engine = store.engine_for_runs()
    with store.write(), engine.begin() as connection:
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM things")).scalar_one() == 0
    close(engine, store)


def test_a_turn_that_ends_in_an_error_is_handed_on(store: Store) -> None:
    engine = store.engine_for_runs()
    with engine.begin() as connection:
        connection.execute(INSERT, {"name": "once"})
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(INSERT, [{"name": "twice"}, {"name": "once"}])
    done = threading.Event()

    def write() -> None:
        with store.write() as connection:
            connection.execute(INSERT, {"name": "own"})
        done.set()

    threading.Thread(target=write, daemon=True).start()
    assert done.wait(DEADLINE)
    assert names(store) == ["once", "own"]
    close(engine, store)


def close(engine: Engine, store: Store) -> None:
    engine.dispose()
    store.close()
