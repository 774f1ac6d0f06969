"""A whole UICI in this process, over services that live in memory: for the tests of runs and of the intake."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import select

from tests.doubles.memory_executor import World
from tests.waiting import until
from uici.bootstrap import Application
from uici.intake.writer import Accepted
from uici.model.alert import Alert, AlertStatus, Notification
from uici.model.base import JsonObject
from uici.ports import Clock
from uici.store.schema import outbox

DEADLINE = 30.0
LADDER = """
strategies:
  down:
    match: ['alertname="Down"']
    diagnose: [get_service_status]
    remedies:
      - name: restart
        steps: [restart_service]
        verify: {within: 1, stable_for: 0.1, confirm_within: 60, interval: 0.1}
"""
VERSIONS = "{good: {}, bad: {}, better: {}}"
UNBRAKED = "mass_failure: {share: 1, at_least: 100000, within_seconds: 60, release_share: 1, release_seconds: 0}\n"
"""However many services a test breaks at once."""
POLICIES = (
    """
autonomy: auto
cooldown: {seconds: 0}
blast_radius: {max_concurrent: 100, max_per_hour: 10000, min_healthy: 0}
"""
    + UNBRAKED
)


def site(
    folder: Path,
    *programs: str,
    strategies: str = LADDER,
    policies: str = POLICIES,
    platform: str = "",
    environments: str = "",
    environment: str = "local",
) -> Path:
    """A configuration with one target per program; nobody is sent away where commits are slow, unless `platform` says.

    These tests hand in what a real Alertmanager would send again after a 503.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if "intake:" not in platform:
        platform += "\nintake: {wait_seconds: 60}\n"
    targets = "targets:\n" + "".join(
        f"  {name}: {{bindings: {{{environment}: {{program: {name}, command: [/bin/true], versions: {VERSIONS}}}}}}}\n"
        for name in programs
    )
    texts = {"targets": targets, "strategies": strategies, "policies": policies, "platform": platform}
    for name, text in (texts | {"environments": environments}).items():
        (folder / f"{name}.yml").write_text(text)
    return folder


def state_beside(config: Path) -> str:
    """The state's URL: a file beside the configuration, or a database of its own of the server that is named."""
    server = os.environ.get("UICI_TEST_POSTGRES")
    if server is None:
        return f"sqlite:///{config.parent / 'state' / 'uici.db'}"
    name = "t" + hashlib.sha256(str(config).encode()).hexdigest()[:24]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"{server}/{name}"


@contextmanager
def running(
    config: Path, world: World, clock: Clock | None = None, monotonic: Callable[[], float] | None = None
) -> Iterator[Application]:
    """UICI at work on the state beside `config` until the block ends."""
    application = Application(
        config, state_beside(config), executors={"local": world.executor_class()}, clock=clock, monotonic=monotonic
    )
    application.start()
    try:
        yield application
    finally:
        application.stop()


def alert(
    program: str, name: str = "Down", *, status: str = "firing", starts: datetime | None = None, **labels: str
) -> Alert:
    """One alert about a program."""
    return Alert(
        fingerprint=f"{name}-{program}",
        status=AlertStatus(status),
        labels={"alertname": name, "uici_target": program, **labels},
        annotations={},
        starts_at=starts or datetime(2026, 1, 1, tzinfo=UTC),
        ends_at=None,
        generator_url="",
    )


def send(application: Application, *alerts: Alert) -> Accepted:
    """Hand in one notification and wait until it is on disk."""
    notification = Notification(receiver="uici", group_key="{}", external_url="", alerts=alerts, truncated_alerts=0)
    return application.control.submit(notification, "test").result(DEADLINE)


def incident_of(application: Application, accepted: Accepted) -> JsonObject:
    """The incident that a notification touched."""
    return application.control.incident(accepted.incidents[0].id)


def run_of(application: Application, accepted: Accepted) -> JsonObject:
    """The run of the incident that a notification touched."""
    return application.control.run(incident_of(application, accepted)["run"])


def closed(application: Application, accepted: Accepted) -> JsonObject:
    """The incident that a notification touched, once it is closed."""

    def incident() -> JsonObject | None:
        found = incident_of(application, accepted)
        return found if found["state"] == "closed" else None

    document: JsonObject = until(incident, "the incident's end")
    return document


def ended(application: Application, run_id: str) -> JsonObject:
    """A run, once it has ended."""

    def run() -> JsonObject | None:
        found = application.control.run(run_id)
        return found if found["state"] == "ended" else None

    document: JsonObject = until(run, "the run's end")
    return document


def told(application: Application) -> list[JsonObject]:
    """The messages to people, oldest first."""
    with application.store.read() as connection:
        return [{**row.message, "kind": row.kind} for row in connection.execute(select(outbox).order_by(outbox.c.id))]
