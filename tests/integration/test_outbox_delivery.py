"""Messages to people against receivers that fail, and a state that cannot be written."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, select
from sqlalchemy.exc import OperationalError

from tests.integration.runs_rig import until
from uici.model.base import JsonObject
from uici.notify.delivery import Deliverer
from uici.store.database import Store
from uici.store.outbox import SENT, enqueue
from uici.store.schema import outbox


class HurryingClock:
    """A clock on which each look is an hour later."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(hours=1)
        return self._now


class Receiver:
    name = "receiver"

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.asked = 0

    def send(self, message: JsonObject) -> None:
        self.asked += 1
        if self.failures:
            raise self.failures.pop()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'uici.db'}")
    store.migrate()
    with store.write() as connection:
        enqueue(connection, "key", "escalation", {"title": "t"}, datetime(2026, 1, 1, tzinfo=UTC))
    yield store
    store.close()


@contextmanager
def delivering(store: Store, receiver: Receiver) -> Iterator[Deliverer]:
    deliverer = Deliverer(store, HurryingClock(), lambda: [receiver])
    deliverer.start()
    try:
        yield deliverer
    finally:
        deliverer.stop(30)


def woken_until(deliverer: Deliverer, condition: Callable[[], bool]) -> None:
    """Keep the deliverer at work until the condition holds."""

    def holds() -> bool:
        deliverer.wake()
        return condition()

    until(holds)


def state(store: Store) -> str:
    with store.read() as connection:
        return str(connection.execute(select(outbox.c.state)).scalar_one())


@pytest.mark.parametrize("failure", [OSError("down"), RuntimeError("a defect of a notifier")])
def test_a_receiver_that_failed_is_asked_again(store: Store, failure: Exception) -> None:
    receiver = Receiver(failure, failure)
    with delivering(store, receiver) as deliverer:
        woken_until(deliverer, lambda: state(store) == SENT)
    assert receiver.asked == 3


def test_a_long_outage_of_the_receiver_loses_no_message(store: Store) -> None:
    receiver = Receiver(*[OSError("down")] * 100)
    with delivering(store, receiver) as deliverer:
        woken_until(deliverer, lambda: state(store) == SENT)
    assert receiver.asked == 101


def test_nothing_is_sent_while_the_state_cannot_be_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def unwritable() -> AbstractContextManager[Connection]:
        tried.append(1)
        raise OperationalError("UPDATE", {}, Exception("disk is full"))

    monkeypatch.setattr(store, "write", unwritable)
    receiver = Receiver()
    with delivering(store, receiver) as deliverer:
        woken_until(deliverer, lambda: len(tried) > 3)
        assert receiver.asked == 0
        monkeypatch.undo()
        woken_until(deliverer, lambda: state(store) == SENT)
    assert receiver.asked == 1
