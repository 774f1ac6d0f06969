"""One, two and four processes on one PostgreSQL: what they accept and heal together, and what it costs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import psycopg

from tests.benchmarks import ground, served
from tests.benchmarks.measuring import Figure, Ratio, Result
from tests.benchmarks.running import STAGES, bare
from tests.e2e.server import Server
from tests.real.postgres import Postgres, postgres
from tests.waiting import until
from uici.access.roles import Role

_FLEETS = (1, 2, 4)
_TARGETS = 100
_ALERTS, _NOTIFICATIONS = 20, 300
_HALF_SECONDS = 5.0
_COMMITS = 300
_BUDGET_SECONDS = 300.0
"""After which no other number of processes is begun, so that a busy machine has an end, too."""
_WEBHOOK = "/webhooks/alertmanager"


def measure(folder: Path) -> Result:
    """For each number of processes: alerts accepted, incidents healed, the webhook's latency under half that load."""
    ratios: list[Ratio] = []
    figures: list[Figure] = []
    facts: dict[str, str | int | float] = {}
    begun = time.monotonic()
    with postgres(fsync="on") as server:
        commits, engine = _commits(server), bare(_database(server, "bare"), STAGES)
        facts["bare commits of one connection, /s"] = round(commits)
        for count in _FLEETS:
            name = f"{count} process{'es' if count > 1 else ''}"
            if time.monotonic() - begun > _BUDGET_SECONDS:
                facts[f"{name}: not taken"] = f"{_BUDGET_SECONDS:g} s were over"
                continue
            with _fleet(folder / f"of{count}", _database(server, f"of{count}"), count) as fleet:
                accepted = _accept(fleet, server, name, facts)
                ratios.append(Ratio(f"{name}: alerts accepted", accepted, "bare commits", commits, "/s"))
                healed = _heal(fleet, server, name, facts)
                ratios.append(Ratio(f"{name}: incidents healed", healed, "the bare engine", engine, "/s"))
                figures.append(_half_load(fleet, name, accepted / _ALERTS / 2))
                sizes = [psutil.Process(each.process.pid).memory_info().rss / 2**20 for each in fleet]
                facts[f"{name}: resident memory of the largest, MB"] = round(max(sizes))
    return Result(name="replicas", figures=tuple(figures), ratios=tuple(ratios), facts=facts)


@contextmanager
def _fleet(folder: Path, state: str, count: int) -> Iterator[list[Server]]:
    with ExitStack() as running:
        fleet = []
        for number in range(count):
            config = ground.site(folder / f"site{number}", _TARGETS, state=state)
            fleet.append(running.enter_context(Server(config, entry=served.UICI)))
        yield fleet


def _accept(fleet: list[Server], server: Postgres, name: str, facts: dict[str, str | int | float]) -> float:
    """Alerts a second, of notifications spread over all; each is new, and all are found in the database."""
    bodies = ground.bodies(_NOTIFICATIONS, _ALERTS, _TARGETS, 1)
    own, database, client = _used(fleet), _used_by(server), time.process_time()
    begun = time.perf_counter()
    _send(fleet, bodies)
    seconds = time.perf_counter() - begun
    client = time.process_time() - client
    all_ = _used(fleet) - own + _used_by(server) - database + client
    facts[f"{name}: processors that accepting kept at work, the client's share among them"] = round(all_ / seconds, 2)
    alerts = _NOTIFICATIONS * _ALERTS
    facts[f"{name}: us of processor time an alert, UICI's"] = round((_used(fleet) - own) * 1e6 / alerts)
    facts[f"{name}: us of processor time an alert, PostgreSQL's"] = round((_used_by(server) - database) * 1e6 / alerts)
    stored = _ask(fleet, "SELECT count(*) FROM alerts")
    if stored != alerts:
        raise RuntimeError(f"{alerts} alerts were accepted, {stored} are stored")
    _settle(fleet)
    return alerts / seconds


def _heal(fleet: list[Server], server: Postgres, name: str, facts: dict[str, str | int | float]) -> float:
    """Incidents healed a second, from the first alert to the end of the last run."""
    before, healed = _ask(fleet, _INCIDENTS), _ask(fleet, _HEALED)
    own, database = _used(fleet), _used_by(server)
    begun = time.perf_counter()
    _send(fleet, ground.bodies(_TARGETS, 1, _TARGETS, 2))
    _settle(fleet)
    seconds = time.perf_counter() - begun
    used = _used(fleet) - own + _used_by(server) - database
    facts[f"{name}: processors that healing kept at work"] = round(used / seconds, 2)
    runs = _ask(fleet, _INCIDENTS) - before
    if _ask(fleet, _HEALED) - healed != runs:
        raise RuntimeError(f"of {runs} incidents not all were healed")
    facts[f"{name}: ms of processor time an incident, UICI's"] = round((_used(fleet) - own) * 1e3 / runs, 1)
    facts[f"{name}: ms of processor time an incident, PostgreSQL's"] = round(
        (_used_by(server) - database) * 1e3 / runs, 1
    )
    facts[f"{name}: rows an incident"] = round(_rows(fleet) / _ask(fleet, _INCIDENTS), 1)
    facts[f"{name}: KB of tables an incident"] = round(_ask(fleet, _BYTES) / _ask(fleet, _INCIDENTS) / 1024, 1)
    return runs / seconds


def _half_load(fleet: list[Server], name: str, notifications: float) -> Figure:
    """The webhook's answers while half of what was accepted a second is sent, at even distances."""
    count = int(notifications * _HALF_SECONDS)
    bodies = ground.bodies(count, _ALERTS, _TARGETS, 3)
    took: list[float] = []
    begun = time.perf_counter() + 0.1

    def send(number: int) -> None:
        each = fleet[number % len(fleet)]
        connection = served.Connection(each.port)
        mine = list(range(number, count, lanes))
        for place in mine:
            time.sleep(max(0.0, begun + place / notifications - time.perf_counter()))
            at = time.perf_counter()
            status = connection.send(_request(fleet[0], bodies[place]))
            took.append((time.perf_counter() - at) * 1000)
            if status != 202:
                raise RuntimeError(f"answered {status}")
        connection.close()

    lanes = 8
    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(send, range(lanes)))
    _settle(fleet)
    return Figure.of(f"{name}: POST answered under half load", took)


_INCIDENTS = "SELECT count(*) FROM incidents"
_HEALED = "SELECT count(*) FROM incidents WHERE outcome = 'healed'"
_OPEN = "SELECT count(*) FROM runs WHERE state <> 'ended'"
_BYTES = (
    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
    "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
)


def _send(fleet: list[Server], bodies: list[bytes]) -> None:
    requests = [_request(fleet[0], body) for body in bodies]

    def share(number: int) -> None:
        mine = requests[number :: len(fleet)]
        served.volley(fleet[number].port, mine, connections=max(1, 8 // len(fleet)), wanted=202)

    with ThreadPoolExecutor(len(fleet)) as pool:
        list(pool.map(share, range(len(fleet))))


def _request(server: Server, body: bytes) -> bytes:
    return served.request(_WEBHOOK, body, {"Authorization": f"Bearer {server.tokens[Role.ALERTMANAGER]}"})


def _settle(fleet: list[Server]) -> None:
    until(lambda: _ask(fleet, _OPEN) == 0, "the end of the runs", fleet[0].tail, seconds=300)


def _ask(fleet: list[Server], statement: str) -> int:
    with psycopg.connect(state_of(fleet)) as connection:
        row = connection.execute(statement.encode()).fetchone()
    return int(row[0]) if row else 0


def _rows(fleet: list[Server]) -> int:
    """All rows of UICI's own tables."""
    with psycopg.connect(state_of(fleet)) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        counted = (connection.execute(f'SELECT count(*) FROM "{name}"'.encode()).fetchone() for (name,) in found)
        return sum(int(row[0]) for row in counted if row)


def state_of(fleet: list[Server]) -> str:
    """The URL of the state that they share."""
    return str(json.loads((fleet[0].config / "platform.yml").read_text())["state"])


def _used(fleet: list[Server]) -> float:
    return sum(served.processor_seconds(each.process.pid) for each in fleet)


def _used_by(server: Postgres) -> float:
    """Of the server's processes that run now, and of those that have ended."""
    first = psutil.Process(server.pid)
    ended = first.cpu_times()
    running = 0.0
    for each in first.children():
        with suppress(psutil.NoSuchProcess):  # it ends just now, and is counted among the ended ones
            running += served.processor_seconds(each.pid)
    return running + ended.user + ended.system + ended.children_user + ended.children_system


def _database(server: Postgres, name: str) -> str:
    with server.connect("postgres") as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return server.database(name)


def _commits(server: Postgres) -> float:
    with server.connect() as connection:
        connection.execute("CREATE TABLE bench (id serial PRIMARY KEY, body text NOT NULL)")
        begun = time.perf_counter()
        for _ in range(_COMMITS):
            connection.execute("INSERT INTO bench (body) VALUES (%s)", ["x" * 500])
        return _COMMITS / (time.perf_counter() - begun)
