"""Messages to people against receivers that fail or hang, and a state that cannot be written."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import OperationalError

from tests.integration.notify_rig import BEGIN, Receiver, SetClock, channel, new_store, settings, tell
from tests.waiting import until
from uici.events.log import EventLog
from uici.model.base import JsonObject
from uici.model.errors import Problem
from uici.model.masking import MASK, register_secret
from uici.model.settings import MessageKind, NotifySettings
from uici.notify.channels import Channel
from uici.notify.delivery import Deliverer
from uici.notify.notifications import Notifications
from uici.ports import Clock
from uici.store.database import Store
from uici.store.outbox import DeliveryState, enqueue
from uici.store.schema import deliveries, outbox


class HurryingClock:
    """A clock on which each look is an hour later."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(hours=1)
        return self._now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = new_store(tmp_path)
    tell(store, "key", datetime(2026, 1, 1, tzinfo=UTC))
    yield store
    store.close()


@contextmanager
def delivering(
    store: Store, *channels: Channel, clock: Clock | None = None, notify: NotifySettings | None = None
) -> Iterator[Deliverer]:
    deliverer = Deliverer(store, clock or HurryingClock(), channels, notify or settings(), "test")
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

    until(holds, "the delivery")


def rows(store: Store) -> list[Row[Any]]:
    with store.read() as connection:
        return list(connection.execute(select(deliveries).order_by("message_id", "channel")))


def states(store: Store) -> list[str]:
    return [row.state for row in rows(store)]


@pytest.mark.parametrize("failure", [OSError("down"), RuntimeError("a defect of a notifier")])
def test_a_receiver_that_failed_is_asked_again(store: Store, failure: Exception) -> None:
    receiver = Receiver(failure, failure)
    with delivering(store, channel(receiver)) as deliverer:
        woken_until(deliverer, lambda: states(store) == [DeliveryState.SENT])
    assert receiver.asked == 3
    assert rows(store)[0].tries == 3


def test_a_long_outage_of_the_receiver_loses_no_message(store: Store) -> None:
    receiver = Receiver(*[OSError("down")] * 100)
    with delivering(store, channel(receiver)) as deliverer:
        woken_until(deliverer, lambda: states(store) == [DeliveryState.SENT])
    assert receiver.asked == 101


def test_nothing_is_sent_while_the_state_cannot_be_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def unwritable() -> AbstractContextManager[Connection]:
        tried.append(1)
        raise OperationalError("UPDATE", {}, Exception("disk is full"))

    clock = SetClock()
    receiver = Receiver(OSError("down"))
    with delivering(store, channel(receiver), clock=clock) as deliverer:
        woken_until(deliverer, lambda: bool(rows(store)) and rows(store)[0].tries == 1)
        monkeypatch.setattr(store, "write", unwritable)
        clock.later(60)
        woken_until(deliverer, lambda: len(tried) > 10)
        assert receiver.asked == 1
        monkeypatch.undo()
        woken_until(deliverer, lambda: states(store) == [DeliveryState.SENT])
    assert receiver.asked == 2


def test_pauses_grow_and_a_part_of_them_is_left_to_chance(store: Store) -> None:
    clock = SetClock()
    receiver = Receiver(*[OSError("down")] * 100)
    pauses = []
    notify = settings(retry={"first_seconds": 60, "longest_seconds": 600})
    with delivering(store, channel(receiver), clock=clock, notify=notify) as deliverer:
        for tries in range(1, 8):
            woken_until(deliverer, lambda tries=tries: bool(rows(store)) and rows(store)[0].tries == tries)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            next_at = rows(store)[0].next_at
            pauses.append((next_at - clock.time).total_seconds())
            clock.time = next_at
    for pause, least in zip(pauses, (60, 120, 240, 480, 600, 600, 600), strict=True):
        assert 0.74 * least <= pause <= 1.26 * least
    assert len(set(pauses)) == len(pauses)


def test_a_channel_that_hangs_delays_no_other(tmp_path: Path) -> None:
    release = threading.Event()

    class Hanging(Receiver):
        def send(self, message: JsonObject) -> None:
            self.asked += 1
            release.wait(60)

    store = new_store(tmp_path)
    for number in range(100):
        tell(store, f"message {number:03}", BEGIN)
    hanging, prompt = Hanging(name="hanging"), Receiver(name="prompt")
    channels = channel(hanging, limited=False), channel(prompt, limited=False)
    with delivering(store, *channels, clock=SetClock(), notify=settings(send_seconds=0.2)) as deliverer:
        woken_until(deliverer, lambda: len(prompt.got) == 100)
        assert prompt.titles() == [f"message {number:03}" for number in range(100)]
        # What hangs is left alone, not piled up.
        woken_until(deliverer, lambda: any("still hangs" in row.error for row in rows(store)))
        assert hanging.asked == 1
        release.set()
    store.close()


def test_a_message_that_is_always_refused_delays_no_other(tmp_path: Path) -> None:
    class Choosy(Receiver):
        def send(self, message: JsonObject) -> None:
            self.asked += 1
            if message["title"] == "poison":
                raise ValueError("it does not fit")
            self.got.append(message)

    store = new_store(tmp_path)
    for title in ("poison", "first", "second"):
        tell(store, title, BEGIN)
    receiver = Choosy()
    with delivering(store, channel(receiver, limited=False), clock=SetClock()) as deliverer:
        woken_until(deliverer, lambda: len(receiver.got) == 2)
    assert receiver.titles() == ["first", "second"]
    assert states(store) == [DeliveryState.PENDING, DeliveryState.SENT, DeliveryState.SENT]
    store.close()


def test_stopping_waits_for_a_hanging_receiver_only_as_long_as_it_may(store: Store) -> None:
    release, begun = threading.Event(), threading.Event()

    class Hanging(Receiver):
        def send(self, message: JsonObject) -> None:
            begun.set()
            release.wait(60)

    deliverer = Deliverer(store, SetClock(), [channel(Hanging())], settings(send_seconds=600), "test")
    deliverer.start()
    until(begun.is_set, "the message that hangs")
    stopped = threading.Event()

    def stop() -> None:
        deliverer.stop(0.2)
        stopped.set()

    threading.Thread(target=stop).start()
    assert stopped.wait(30), "stopping waits for the receiver"
    assert states(store) == [DeliveryState.PENDING], "it is sent again at the next start"
    release.set()


# --- what people may ask ----------------------------------------------------------------------------------------------


def notifications(store: Store, *channels: Channel, **more: Any) -> Notifications:
    clock = SetClock()
    return Notifications(store, EventLog(store, clock), clock, channels, settings(**more), lambda: None)


def test_a_message_that_was_given_up_is_shown_and_tried_again_when_a_person_asks(store: Store) -> None:
    receiver = Receiver(*[OSError("the mailbox is full")] * 3)
    asked = notifications(store, channel(receiver))
    with delivering(store, channel(receiver), notify=settings(retry={"tries": 3})) as deliverer:
        woken_until(deliverer, lambda: states(store) == [DeliveryState.DEAD])
    assert "1 could not be delivered" in asked.summary()
    shown = asked.status(10)
    (message,) = shown["messages"]
    assert (message["state"], message["tries"], message["error"]) == ("dead", 3, "the mailbox is full")
    assert shown["channels"][0] == {
        "name": "receiver", "configured": True, "severity": None,
        "kinds": ["approval", "configuration_rejected", "escalation", "proposal", "refused"],
        "pending": 0, "held": 0, "summarised": 0, "sent": 0, "dead": 1, "last_accepted_at": None,
    }  # fmt: skip
    assert asked.retry([message["id"]], "ann") == {"retried": [{"id": message["id"], "channel": "receiver"}]}
    with delivering(store, channel(receiver)) as deliverer:
        woken_until(deliverer, lambda: states(store) == [DeliveryState.SENT])
    assert asked.summary() == "all delivered"
    (event,) = EventLog(store, SetClock()).read()
    assert (event.type, event.data["actor"]) == ("notifications_retried", "ann")
    assert asked.retry(None, "ann") == {"retried": []}


def test_retrying_what_is_not_dead_or_not_there_says_so(store: Store) -> None:
    receiver = Receiver()
    with delivering(store, channel(receiver)) as deliverer:
        woken_until(deliverer, lambda: states(store) == [DeliveryState.SENT])
    asked = notifications(store, channel(receiver))
    with pytest.raises(Problem, match="none of these messages was given up"):
        asked.retry([1], "ann")
    with pytest.raises(Problem, match="no message 4711"):
        asked.retry([1, 4711], "ann")


def test_what_waits_for_a_channel_that_was_removed_is_given_up_and_shown(store: Store) -> None:
    with delivering(store, channel(Receiver(*[OSError("down")] * 99)), clock=SetClock()) as deliverer:
        woken_until(deliverer, lambda: bool(rows(store)) and rows(store)[0].tries == 1)
    other = channel(Receiver(name="other"))
    with delivering(store, other):
        assert states(store) == [DeliveryState.DEAD]
    shown = notifications(store, other).status(10)
    assert [(each["name"], each["configured"]) for each in shown["channels"]] == [("other", True), ("receiver", False)]
    assert shown["messages"][0]["error"] == "platform.yml has no such channel"


def test_a_test_says_of_each_channel_what_its_receiver_made_of_it(store: Store) -> None:
    good, bad = Receiver(name="good"), Receiver(OSError("it answered 500"), name="bad")
    asked = notifications(store, channel(good), channel(bad))
    assert asked.test(None, "ann")["results"] == [
        {"channel": "good", "accepted": True, "error": None},
        {"channel": "bad", "accepted": False, "error": "it answered 500"},
    ]
    assert "test" in good.got[0]["title"]
    with pytest.raises(Problem, match=r"no channel 'goood'; did you mean 'good'"):
        asked.test("goood", "ann")
    assert states(store) == [], "a test is no message that could be held or die"


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_secrets_are_masked_where_a_message_is_stored_and_those_learned_later_where_it_leaves(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    register_secret("known-before-storing")
    tell(store, "known", BEGIN, why="it said known-before-storing and learned-afterwards, password: hunter2")
    with store.read() as connection:
        stored = connection.execute(select(outbox.c.message)).scalar_one()["why"]
    assert stored == f"it said {MASK} and learned-afterwards, password: {MASK}"
    register_secret("learned-afterwards")
    receiver = Receiver()
    with delivering(store, channel(receiver)) as deliverer:
        woken_until(deliverer, lambda: bool(receiver.got))
    (message,) = receiver.got
    assert message["why"] == f"it said {MASK} and {MASK}, password: {MASK}"
    assert "learned-afterwards" not in message["text"]
    store.close()


def test_a_message_that_cannot_be_put_in_words_holds_up_no_other(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    with store.write() as connection:
        enqueue(connection, "first", MessageKind.ESCALATION, {"tried": [{}]}, begin)
    tell(store, "second", begin)
    receiver = Receiver()
    with delivering(store, channel(receiver)) as deliverer:
        woken_until(deliverer, lambda: states(store) == ["dead", "sent"])
    assert len(receiver.got) == 1
    assert "remedy" in rows(store)[0].error
    store.close()
