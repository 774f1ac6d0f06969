"""What the service answers while its PostgreSQL is restarted, cut off, hangs, is full or is not what it should be."""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.integration.service_rig import Served, alert, notification, serving
from tests.real.disk import small_disk
from tests.real.postgres import Postgres, postgres, postgres_folder
from tests.waiting import until
from uici.model.errors import Problem
from uici.store import postgres as backend
from uici.store.database import Store

pytestmark = [pytest.mark.component("postgres"), pytest.mark.timeout(240)]
PLATFORM = "intake: {commit_seconds: 1.0}\nruns: {takeover_seconds: 60}\n"


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, database: Postgres) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("site"), state=database.url, platform=PLATFORM) as served:
        yield served


def accepted(served: Served, name: str = "Unheard") -> bool:
    return served.alert(notification(alert(name, filler=secrets.token_hex(8000)))).status_code == 202


def new() -> str:
    return f"A{secrets.token_hex(6)}"


def check_refused(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0


def ready(served: Served) -> int:
    return served.client.get("/readyz").status_code


def test_a_restart_is_told_and_got_over(served: Served, database: Postgres) -> None:
    assert accepted(served)
    database.stop()
    check_refused(served.alert(notification(alert())))
    assert ready(served) == 503
    database.start()
    until(lambda: ready(served) == 200, "readiness")
    assert accepted(served)


def test_a_crash_loses_nothing_that_was_accepted(served: Served, database: Postgres) -> None:
    before = {incident["id"] for incident in served.alert(notification(alert("Crash"))).json()["incidents"]}
    database.kill()
    check_refused(served.alert(notification(alert("Crash"))))
    database.start()
    until(lambda: ready(served) == 200, "readiness")
    again = served.alert(notification(alert("Crash")))
    assert {incident["id"] for incident in again.json()["incidents"]} == before


def test_cut_connections_are_opened_again(served: Served, database: Postgres) -> None:
    answers: Counter[int] = Counter()
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            answers[served.alert(notification(alert("Cut"))).status_code] += 1

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(5):
            seen = answers[202]
            assert database.cut_connections() > 0
            until(lambda seen=seen: answers[202] > seen + 2, "more alerts to be accepted")  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()
    assert set(answers) <= {202, 503}, answers
    until(lambda: ready(served) == 200, "readiness")


def test_a_hanging_server_hangs_nobody(served: Served, database: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    assert accepted(served)
    monkeypatch.setattr(backend, "SILENT_SECONDS", 3.0)
    database.pause()
    try:
        # Known and unknown tokens, and what is behind the connections that hang already.
        for _ in range(3):
            check_refused(served.alert(notification(alert("Hang"))))
        check_refused(served.request("GET", "/api/v1/runs", served.revoked))
        assert ready(served) == 503
    finally:
        database.resume()
    until(lambda: ready(served) == 200, "readiness")
    assert accepted(served)


def test_a_database_that_cannot_be_used_is_told(served: Served, database: Postgres) -> None:
    with database.connect("postgres") as connection:
        connection.execute("CREATE ROLE few LOGIN CONNECTION LIMIT 0")
        connection.execute("CREATE ROLE weak LOGIN")
        connection.execute("CREATE DATABASE old TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    base = f"127.0.0.1:{database.port}"
    for state, told in {
        f"postgresql://few@{base}/uici": "too many connections",
        f"postgresql://weak@{base}/postgres": "permission denied",
        f"postgresql://nobody@{base}/uici": "does not exist",
        f"postgresql://uici@{base}/nowhere": "does not exist",
        "postgresql://uici@127.0.0.1:9/uici": "refused",
        f"postgresql://uici@{base}/old": "encoding",
        f"postgresql://uici@{base},127.0.0.1:9/uici": "not a URL",
    }.items():
        with pytest.raises(Problem) as caught, closing(Store(state)) as store:
            store.migrate()
        assert told in caught.value.detail, (state, caught.value.detail)
        assert caught.value.hint


@pytest.mark.component("tmpfs")
def test_a_full_disk_of_the_server_is_told_and_got_over(tmp_path: Path) -> None:
    with postgres_folder() as folder, small_disk(folder / "disk", "160m") as disk:
        server = Postgres(disk.folder)
        try:
            server.create()
            with serving(tmp_path / "full", state=server.url, platform=PLATFORM) as served:
                assert accepted(served, "First")
                disk.fill()
                until(lambda: not accepted(served, new()), "what is allocated already to be used up")
                check_refused(served.alert(notification(alert(new(), filler=secrets.token_hex(20_000)))))
                assert ready(served) == 503
                disk.free()
                # The server itself ends where its log of changes finds no room; who runs it starts it again.
                server.start_again()
                until(lambda: ready(served) == 200, "readiness")
                assert accepted(served, new())
        finally:
            server.kill()
