"""The webhook: alerts accepted durably, how long it takes to the first call, and what a hanging platform changes."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from tests.benchmarks import ground, served
from tests.benchmarks.measuring import Figure, Ratio, Result, timed
from tests.e2e.server import Server
from tests.waiting import until
from uici.access.roles import Role
from uici.bootstrap import Application
from uici.intake.payload import parse_notification
from uici.intake.targeting import TargetIndex

_CONNECTIONS = 8
_TARGETS = 20
_SIZES = ((1, 800, 800.0), (20, 150, 8_000.0), (200, 40, 20_000.0))
"""Alerts in a notification, notifications in a round, goal in alerts/s."""
_ROUNDS = 3
_WEBHOOK = "/webhooks/alertmanager"


def rates(folder: Path) -> Result:
    """Rounds of UICI and of the bare service in turn, with the same bodies; each round's alerts are new ones."""
    ratios = []
    alone = []
    config = ground.site(folder / "site", _TARGETS)
    with Server(config, entry=served.UICI) as uici, served.bare_service(folder) as bare:
        key = {"Authorization": f"Bearer {uici.tokens[Role.ALERTMANAGER]}"}
        wave = sent = 0
        for size, count, goal in _SIZES:
            own: list[float] = []
            beside: list[float] = []
            cost: list[float] = []
            cost_beside: list[float] = []
            cost_of_sending: list[float] = []
            for _ in range(_ROUNDS):
                wave += 1
                bodies = ground.bodies(count, size, _TARGETS, wave)
                sent += count * size
                requests = [served.request(_WEBHOOK, body, key) for body in bodies]
                for port, pid, reached, costs in (
                    (bare.port, bare.pid, beside, cost_beside),
                    (uici.port, uici.process.pid, own, cost),
                ):
                    used, sent_by = served.processor_seconds(pid), time.process_time()
                    seconds, _ = served.volley(port, requests, connections=_CONNECTIONS, wanted=202)
                    reached.append(count * size / seconds)
                    costs.append((served.processor_seconds(pid) - used) * 1e6 / (count * size))
                    cost_of_sending.append((time.process_time() - sent_by) * 1e6 / (count * size))
                _settle(config)
            ratios.append(
                Ratio(f"alerts of notifications of {size}", max(own), "a route and a commit", max(beside), "/s", goal)
            )
            alone += [
                (f"accepting and what it starts, notifications of {size}", min(cost)),
                (f"the same by a route and a commit, notifications of {size}", min(cost_beside)),
                (f"sending, notifications of {size}", min(cost_of_sending)),
            ]
            begun = time.thread_time()
            read = [parse_notification(body, max_depth=32) for body in bodies]
            alone.append((f"parsing, notifications of {size}", (time.thread_time() - begun) * 1e6 / (count * size)))
    with sqlite3.connect(config / "state" / "uici.db") as state:
        stored = state.execute("SELECT count(*) FROM alerts").fetchone()[0]
    if stored != sent:
        raise RuntimeError(f"{sent} alerts were accepted, {stored} are stored")
    application = Application(config, f"sqlite:///{folder / 'other' / 'uici.db'}")
    index = TargetIndex(application.site)
    found = [alert for notification in read for alert in notification.alerts]
    begun = time.thread_time()
    for alert in found:
        index.resolve(alert, application.services.identity, application.services.layers)
    alone.append(("targeting", (time.thread_time() - begun) * 1e6 / len(found)))
    application.store.close()
    facts: dict[str, str | int | float] = {"accepted and found in the database": stored}
    facts |= {f"{name}, us of processor time an alert": round(value, 1) for name, value in alone}
    return Result(name="intake", ratios=tuple(ratios), facts=facts)


def first_call(folder: Path) -> Result:
    """One alert at a time: POST to answer, and acceptance to the first call, on a platform that costs nothing."""
    config = ground.site(folder / "site", 1)
    waits = []
    with Server(config, entry=served.UICI) as uici, served.bare_service(folder) as bare:
        key = {"Authorization": f"Bearer {uici.tokens[Role.ALERTMANAGER]}"}
        requests = [served.request(_WEBHOOK, ground.bodies(1, 1, 1, wave)[0], key) for wave in range(105)]
        beside = served.Connection(bare.port)
        own = served.Connection(uici.port)
        bare_answers = timed(lambda: beside.send(requests[0]), count=100)
        answers = []
        for made in requests:
            begun = time.perf_counter()
            own.send(made)
            answers.append((time.perf_counter() - begun) * 1000)
            _settle(config)
        own.close()
        beside.close()
    with sqlite3.connect(config / "state" / "uici.db") as state:
        rows = state.execute(
            "SELECT (julianday(first_call_at) - julianday(created_at)) * 86400000 FROM runs ORDER BY id"
        ).fetchall()
    waits = [row[0] for row in rows][5:]
    answered, called = Figure.of("POST answered", answers[5:]), Figure.of("accepted to first call", waits)
    bare_answered = Figure.of("bare route with a commit answered", bare_answers)
    name = "a route and a commit"
    return Result(
        name="webhook",
        figures=(answered, called, bare_answered),
        ratios=(
            Ratio("POST answered, median", answered.median, name, bare_answered.median, "ms"),
            Ratio("accepted to first call, median", called.median, name, bare_answered.median, "ms"),
        ),
    )


def while_hanging(folder: Path) -> Result:
    """A thousand incidents, while no call to the platform ever answers."""
    targets = 1000
    config = ground.site(folder / "site", targets)
    uici = Server(config, entry=served.UICI)
    with served.bare_service(folder) as bare:
        uici.start({served.HANGING: "1"})
        try:
            key = {"Authorization": f"Bearer {uici.tokens[Role.ALERTMANAGER]}"}
            requests = [served.request(_WEBHOOK, body, key) for body in ground.bodies(targets, 1, targets)]
            _, beside = served.volley(bare.port, requests, connections=4, wanted=202)
            _, own = served.volley(uici.port, requests, connections=4, wanted=202)
        finally:
            uici.kill()  # its threads hang for ever
            uici.http.close()
    with sqlite3.connect(config / "state" / "uici.db") as state:
        stored = state.execute("SELECT count(*) FROM incidents").fetchone()[0]
    if stored != targets:
        raise RuntimeError(f"{targets} incidents were accepted, {stored} are stored")
    mine, other = Figure.of("POST answered", own), Figure.of("bare route with a commit answered", beside)
    return Result(
        name="hanging",
        figures=(mine, other),
        ratios=(
            Ratio(
                "POST answered while the platform hangs, p99", mine.p99, "a route and a commit", other.p99, "ms", 200
            ),
        ),
        facts={"incidents": stored},
    )


def _settle(config: Path) -> None:
    """Wait until no run is under way, so that one round is not measured in the next."""
    with sqlite3.connect(config / "state" / "uici.db", timeout=30) as state:
        unended = "SELECT count(*) FROM runs WHERE state != 'ended'"
        until(lambda: state.execute(unended).fetchone()[0] == 0, "the end of the runs", seconds=120.0)
