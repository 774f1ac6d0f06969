"""How much people are told in a row: windows, summaries, what passes them, and that nothing is lost or told twice."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.integration.notify_rig import BEGIN, Receiver, SetClock, channel, new_store, settings, tell
from uici.model.incident import IncidentState
from uici.model.settings import MessageKind
from uici.notify.channels import Channel
from uici.notify.routing import Router
from uici.notify.wording import text_of
from uici.store.database import Store
from uici.store.outbox import DeliveryState, enqueue
from uici.store.schema import deliveries, incidents, outbox

OUTCOME = MessageKind.OUTCOME


class Desk:
    """A router over one store; what it decided stands in the database."""

    def __init__(self, store: Store, *channels: Channel, **more: Any) -> None:
        self.store = store
        self.clock = SetClock()
        self.channels = channels or (channel(Receiver(name="people")),)
        self.more = more

    def tell(self, key: str, **more: Any) -> None:
        tell(self.store, key, self.clock.time, **more)

    def route(self) -> list[str]:
        """Decide with a router that knows nothing but the database; the titles of what is to be sent now."""
        router = Router(settings(**self.more), self.channels)
        while True:
            with self.store.read() as connection:
                if not router.waits(connection, self.clock.time):
                    break
            with self.store.write() as connection:
                router.route(connection, self.clock.time)
        with self.store.write() as connection:
            due = connection.execute(
                select(outbox.c.message)
                .join(deliveries, deliveries.c.message_id == outbox.c.id)
                .where(deliveries.c.state == DeliveryState.PENDING, deliveries.c.channel == "people")
                .order_by(outbox.c.id)
            ).all()
            connection.execute(
                deliveries.update().where(deliveries.c.state == DeliveryState.PENDING).values(state=DeliveryState.SENT)
            )
        self.sent = [row.message for row in due]
        return [row.message["title"] for row in due]

    def count(self, state: DeliveryState) -> int:
        with self.store.read() as connection:
            return len(connection.execute(select(deliveries).where(deliveries.c.state == state)).all())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = new_store(tmp_path)
    yield store
    store.close()


def test_one_message_of_a_kind_in_an_hour_and_the_rest_in_one_summary(store: Store) -> None:
    desk = Desk(store)
    desk.tell("first")
    assert desk.route() == ["first"]
    for number in range(7):
        desk.clock.later(1)
        desk.tell(f"more {number}")
        assert desk.route() == []
    assert desk.count(DeliveryState.HELD) == 7
    desk.clock.later(52)
    assert desk.route() == [], "the window of the first has not passed"
    desk.clock.later(1)
    assert desk.route() == ["7 more messages since 12:01 UTC that want a human"]
    assert [item["title"] for item in desk.sent[0]["held"]] == [f"more {number}" for number in range(7)]
    assert desk.count(DeliveryState.SUMMARISED) == 7
    assert desk.count(DeliveryState.HELD) == 0
    desk.clock.later(59)
    desk.tell("in the summary's window")
    assert desk.route() == []
    desk.clock.later(1)
    assert desk.route() == ["in the summary's window"], "one alone is told as it is"
    desk.clock.later(120)
    assert desk.route() == []


def test_a_summary_names_incidents_their_outcomes_and_a_page_of_the_sites_own(store: Store) -> None:
    desk = Desk(store, incident_url="https://wiki.example/i/{incident}")
    with store.write() as connection:
        connection.execute(
            incidents.insert().values(
                id="inc_1", key="local/web", state=IncidentState.CLOSED, outcome="self_resolved", opened_at=BEGIN
            )
        )
    desk.tell("first")
    desk.route()
    with store.write() as connection:
        for number in range(30):
            enqueue(
                connection, f"k{number}", MessageKind.ESCALATION, {"title": f"Down {number}"}, BEGIN,
                severity="warning", incident="inc_1",
            )  # fmt: skip
    assert desk.route() == []
    desk.clock.later(60)
    desk.route()
    text = text_of(desk.sent[0])
    assert "[warning] 30 more messages since 12:00 UTC" in text
    assert "- 12:00 Down 0 (inc_1, self_resolved)" in text
    assert "https://wiki.example/i/inc_1" in text
    assert "and 10 more" in text
    assert "uici incidents --state open" in text


def test_what_is_more_severe_than_all_that_was_told_goes_out_at_once(store: Store) -> None:
    desk = Desk(store)
    told = []
    severities = "info", "info", "warning", "info", "critical", "warning", "critical", "never heard of"
    for number, severity in enumerate(severities):
        desk.tell(f"{number} {severity}", severity=severity)
        told += desk.route()
    assert told == ["0 info", "2 warning", "4 critical"], "an unknown severity counts as the highest, which was told"
    desk.clock.later(60)
    assert desk.route() == ["5 more messages since 12:00 UTC that want a human"]
    assert desk.sent[0]["severity"] in ("critical", "never heard of")


def test_kinds_and_channels_have_windows_of_their_own(store: Store) -> None:
    machine = channel(Receiver(name="webhook"), limited=False)
    desk = Desk(store, channel(Receiver(name="people")), channel(Receiver(name="others")), machine)
    for kind in (MessageKind.ESCALATION, MessageKind.REFUSED, MessageKind.ESCALATION, MessageKind.REFUSED):
        desk.tell(f"{kind} {desk.clock.later(1)}", kind=kind)
    assert len(desk.route()) == 2
    with store.read() as connection:
        found = connection.execute(select(deliveries.c.channel, deliveries.c.state)).all()
    by = {name: sorted(state for each, state in found if each == name) for name in ("people", "others", "webhook")}
    assert by == {"people": ["held", "held", "sent", "sent"], "others": ["held", "held", "sent", "sent"],
                  "webhook": ["sent"] * 4}  # fmt: skip


def test_questions_to_people_are_not_held(store: Store) -> None:
    desk = Desk(store)
    for number in range(5):
        desk.tell(f"approve {number}", kind=MessageKind.APPROVAL)
    assert desk.route() == [f"approve {number}" for number in range(5)]
    desk = Desk(store, limits={"approval": {"messages": 2, "seconds": 60}})
    for number in range(5, 10):
        desk.tell(f"approve {number}", kind=MessageKind.APPROVAL)
    assert desk.route() == ["approve 5", "approve 6"]


def test_a_channel_gets_its_kinds_and_severities_only(store: Store) -> None:
    asked = channel(Receiver(name="people"), least=4, kinds=(MessageKind.ESCALATION, OUTCOME))
    desk = Desk(store, asked, limits={"escalation": None, "outcome": None})
    for severity, kind, told_as in (
        ("warning", MessageKind.ESCALATION, None),
        ("critical", MessageKind.REFUSED, None),
        ("critical", MessageKind.ESCALATION, None),
        ("critical", OUTCOME, None),
        ("critical", OUTCOME, "escalation"),
        ("critical", OUTCOME, "refused"),
    ):
        desk.tell(f"{severity} {kind} {told_as}", severity=severity, kind=kind, told_as=told_as)
    assert desk.route() == ["critical escalation None", "critical outcome None", "critical outcome refused"]


def test_a_clock_that_is_set_back_holds_nothing_for_ever(store: Store) -> None:
    desk = Desk(store)
    for title in ("first", "second"):
        desk.tell(title)
    assert desk.route() == ["first"]
    desk.clock.time = BEGIN - timedelta(days=300)
    assert desk.route() == ["second"]


def test_a_limit_that_is_lifted_releases_what_was_held(store: Store) -> None:
    desk = Desk(store)
    for title in ("first", "second", "third"):
        desk.tell(title)
    assert desk.route() == ["first"]
    desk.more = {"limits": {"escalation": None}}
    desk.clock.later(60)
    assert desk.route() == ["2 more messages since 12:00 UTC that want a human"]
    desk.tell("fourth")
    assert desk.route() == ["fourth"]
