"""What has ended goes after its time, a little at a time; what is open or still needed never does."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.doubles.memory_executor import World
from tests.integration.runs_rig import POLICIES, alert, closed, incident_of, running, send, site
from tests.waiting import until
from uici.bootstrap import Application
from uici.catalogue.diagnostics import CatalogueError
from uici.model.alert import Alert
from uici.store.current import CURRENT
from uici.store.database import Store
from uici.store.schema import (
    alerts,
    attempts,
    choices,
    deliveries,
    events,
    feedback,
    incidents,
    kept_results,
    outbox,
    outcomes,
    plans,
    runs,
)
from uici.store.sums import outcome_sums
from uici.store.workers import workers

PLATFORM = """
retention:
  every_seconds: 0
  incidents_seconds: 2592000
  events_seconds: 864000
  calls_seconds: 864000
  results_seconds: 864000
  messages_seconds: 864000
  held_back_seconds: 864000
  outcomes_seconds: 2592000
  audit_seconds: 2592000
"""
VERIFY = "{within: 5, stable_for: 0, confirm_within: 0, interval: 0.05}"
STRATEGIES = f"""
strategies:
  asks:
    match: ['alertname="Asks"']
    remedies: [{{name: restart, steps: [restart_service], verify: {VERIFY}}}]
  down:
    match: ['alertname="Down"']
    diagnose: [get_service_status]
    remedies:
      - {{name: restart, alternative: revive, prior: {{good: 1, bad: 1}}, steps: [restart_service], verify: {VERIFY}}}
      - {{name: start, alternative: revive, prior: {{good: 1, bad: 1}}, steps: [start_service], verify: {VERIFY}}}
  nobody:
    match: ['alertname="Nobody"']
    remedies: [{{name: tell, steps: [{{operation: escalate_to_human, parameters: {{message: look}}}}]}}]
"""
DAY = timedelta(days=1)
WEEKS, EACH_WEEK = 14, 15


class Calendar:
    """The machine's clock, some days ahead."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture
def application(tmp_path: Path, calendar: Calendar) -> Iterator[Application]:
    targets = [f"web{number}" for number in range(EACH_WEEK)]
    config = site(tmp_path / "site", *targets, "db", "db2", strategies=STRATEGIES, platform=PLATFORM, policies=POLICIES)
    with running(config, World(), clock=calendar) as application:
        yield application


def rows(application: Application) -> Counter[str]:
    with application.store.read() as connection:
        return Counter(
            {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in CURRENT.metadata.sorted_tables
            }
        )


def heal(application: Application, calendar: Calendar, count: int) -> None:
    """So many incidents of now, from alert to end."""
    now = calendar.now()
    accepted = [send(application, alert(f"web{number}", starts=now)) for number in range(count)]
    for each in accepted:
        assert closed(application, each)["outcome"] == "healed"
    send(application, *(alert(f"web{number}", starts=now, status="resolved") for number in range(count)))


def test_what_is_kept_does_not_grow_with_the_weeks(application: Application, calendar: Calendar) -> None:
    since = calendar.now()
    first = send(application, alert("web0", starts=since))
    first_run = closed(application, first)["run"]
    old_id = first.incidents[0].id
    counted: list[Counter[str]] = []
    for _ in range(WEEKS):
        heal(application, calendar, EACH_WEEK)
        calendar.ahead += 7 * DAY
        application.retention.round()
        counted.append(rows(application))
    # From the sixth week on, all that is 30 days old has gone.
    settled, last = counted[6], counted[-1]
    grown = {name: (settled[name], last[name]) for name in last if last[name] > settled[name] * 1.1 + 2}
    assert grown == {}
    with application.store.read() as connection:
        assert connection.execute(select(incidents.c.id).where(incidents.c.id == old_id)).all() == []
        for table in (runs, attempts, events, outcomes, choices):
            key = table.c.id if table is runs else table.c.run_id
            assert connection.execute(select(key).where(key == first_run)).all() == [], table.name
        kept = connection.execute(select(func.count()).select_from(outcomes)).scalar_one()
        summed = connection.execute(select(func.sum(outcome_sums.c.outcomes), func.sum(outcome_sums.c.reward))).one()
    assert summed == (WEEKS * EACH_WEEK + 1 - kept, float(WEEKS * EACH_WEEK + 1 - kept)), "their sums stay"
    heal(application, calendar, 3)


def test_an_alert_that_is_still_delivered_keeps_its_incident_and_starts_no_second_run(
    application: Application, calendar: Calendar
) -> None:
    firing: Alert = alert("db", "Nobody", starts=calendar.now())
    id_ = closed(application, send(application, firing))["id"]
    for _ in range(8):
        calendar.ahead += 10 * DAY
        accepted = send(application, firing)
        application.retention.round()
        assert [each.id for each in accepted.incidents] == [id_]
    with application.store.read() as connection:
        assert len(connection.execute(select(runs.c.id)).all()) == 1
    calendar.ahead += 31 * DAY
    application.retention.round()
    assert rows(application)["incidents"] == rows(application)["alerts"] == rows(application)["runs"] == 0


def test_what_is_open_stays_with_all_that_it_needs(tmp_path: Path, calendar: Calendar) -> None:
    policies = POLICIES.replace("autonomy: auto", "autonomy: approve") + "approval: {expires_seconds: 604800}\n"
    config = site(tmp_path / "site", "db", strategies=STRATEGIES, platform=PLATFORM, policies=policies)
    with running(config, World(), clock=calendar) as application:
        accepted = send(application, alert("db", starts=calendar.now()))
        id_ = accepted.incidents[0].id
        until(lambda: incident_of(application, accepted)["runs"][0]["stage"] == "approval", "the question")
        until(lambda: _states(application) == ["sent"], "people told")
        # All that it consists of is made older than anything is kept; nobody has answered.
        with application.store.write() as connection:
            past = calendar.now() - 400 * DAY
            for table, column in (
                (incidents, "opened_at"), (alerts, "last_seen"), (events, "at"), (outbox, "created_at"),
                (plans, "created_at"), (runs, "created_at"),
            ):  # fmt: skip
                connection.execute(table.update().values({column: past}))
        before = rows(application)
        assert sum(application.retention.round().values()) == 0
        assert rows(application) == before
        run = incident_of(application, accepted)["runs"][0]
        application.control.approve(run["id"], run["cid"], "ann#1", "")
        assert closed(application, accepted)["outcome"] == "healed"
        calendar.ahead += 31 * DAY
        gone = application.retention.round()
        assert gone["incidents"] == gone["approvals"] == gone["plans"] == 1
        with application.store.read() as connection:
            assert connection.execute(select(events.c.seq).where(events.c.incident_id == id_)).all() == []


def test_a_message_that_nobody_got_yet_stays(application: Application, calendar: Calendar) -> None:
    closed(application, send(application, alert("db", "Nobody", starts=calendar.now())))
    until(lambda: rows(application)["deliveries"], "the delivery")
    until(lambda: "pending" not in _states(application), "its end")
    with application.store.write() as connection:
        connection.execute(deliveries.update().values(state="pending", next_at=calendar.now() + 999 * DAY))
    calendar.ahead += 60 * DAY
    application.retention.round()
    kept = rows(application)
    assert (kept["outbox"], kept["deliveries"], kept["incidents"]) == (1, 1, 1)
    with application.store.write() as connection:
        connection.execute(deliveries.update().values(state="dead"))
    application.retention.round()
    kept = rows(application)
    assert (kept["outbox"], kept["deliveries"], kept["incidents"]) == (0, 0, 0)


def _states(application: Application) -> list[str]:
    with application.store.read() as connection:
        return list(connection.execute(select(deliveries.c.state)).scalars())


def test_zero_keeps_for_ever_and_too_short_is_refused(tmp_path: Path, calendar: Calendar) -> None:
    for_ever = PLATFORM.replace("incidents_seconds: 2592000", "incidents_seconds: 0")
    config = site(tmp_path / "site", "web0", strategies=STRATEGIES, platform=for_ever)
    with running(config, World(), clock=calendar) as application:
        heal(application, calendar, 1)
        calendar.ahead += 3650 * DAY
        gone = application.retention.round()
        assert gone["events"] > 0
        kept = rows(application)
        assert (kept["incidents"], kept["runs"], kept["alerts"], kept["plans"]) == (1, 1, 1, 1)
    short = PLATFORM.replace("incidents_seconds: 2592000", "incidents_seconds: 86400")
    with pytest.raises(CatalogueError, match="86400 is too short: 0 keeps for ever, otherwise at least 2592000"):
        Application(site(tmp_path / "site", "web0", platform=short), f"sqlite:///{tmp_path / 'other.db'}")


def test_a_round_ends_when_its_time_is_up_and_the_next_one_goes_on(tmp_path: Path, calendar: Calendar) -> None:
    brief = PLATFORM + "  rows_at_once: 1\n  round_seconds: 0.001\n"
    config = site(tmp_path / "site", "web0", "web1", "web2", strategies=STRATEGIES, platform=brief)
    with running(config, World(), clock=calendar) as application:
        heal(application, calendar, 3)
        calendar.ahead += 40 * DAY
        assert application.retention.round()["incidents"] <= 1
        until(lambda: application.retention.round() is not None and rows(application)["incidents"] == 0, "the rest")


def test_a_person_s_word_goes_with_the_outcome(application: Application, calendar: Calendar) -> None:
    accepted = send(application, alert("web1", starts=calendar.now()))
    run = closed(application, accepted)["run"]
    application.control.learning.feedback(run, True, "quick", "ann#1")
    calendar.ahead += 31 * DAY
    application.retention.round()
    with application.store.read() as connection:
        assert connection.execute(select(feedback)).all() == connection.execute(select(choices)).all() == []
        assert connection.execute(select(kept_results.c.id)).all() == []


def test_the_room_of_what_has_gone_is_given_back(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'uici.db'}")
    store.migrate()
    with store.write() as connection:
        row = {"at": datetime.now(UTC), "type": "noise", "data": {"text": "x" * 2000}}
        connection.execute(events.insert(), [row] * 20_000)
    with store.write() as connection:
        connection.execute(events.delete())
    path = tmp_path / "uici.db"
    checkpoint(path)
    before = path.stat().st_size
    while store.give_back():
        pass
    checkpoint(path)
    assert path.stat().st_size < before / 4
    store.close()


def checkpoint(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_of_several_processes_the_oldest_does_the_rounds(application: Application) -> None:
    mine = application.services.workers
    assert mine.is_first()
    older = {"id": "older", "host": "h", "pid": 1, "version": "1", "seen_at": datetime.now(UTC)}
    with application.store.write() as connection:
        connection.execute(workers.insert().values(**older, started_at=datetime(2020, 1, 1, tzinfo=UTC)))
    assert not mine.is_first()
    with application.store.write() as connection:
        connection.execute(workers.delete().where(workers.c.id == "older"))
    assert mine.is_first()
