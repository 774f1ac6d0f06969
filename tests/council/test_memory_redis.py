"""Councils that share their memory in a real Redis: what each sees, and what they say while it is away."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from council.configuration import load
from council.memory.fact_redis import RedisFacts
from council.memory.fact_store import Fact, Kept, StoreAwayError
from council.memory.facts import Facts
from council.memory.vectors import Stored, Vectors, number_of
from council.serving import make_app
from council.settings import AgentsFile, VectorSettings
from tests.council.fact_places import LANGUAGE, SHIPPED
from tests.council.ground import Ground, at_work, chat, council
from tests.real.redis import redis_server
from tests.waiting import until
from uici.model.errors import Problem

QUESTION = "What colour is my bike?"


@contextmanager
def served(folder: Path, url: str, **memory: Any) -> Iterator[Ground]:
    """A council that has agent-0 alone."""
    shipped = SHIPPED.model_dump(include={"empty_words", "kinds"})
    document = {
        "state": str(folder / "state" / "council.db"),
        "backends": {"agent-0": {"kind": "recall"}},
        "routes": {"council": {"stages": [{"name": "agent-0", "backends": {"agent-0": 1}}]}},
        "memory": {**shipped, "redis": "${env:COUNCIL_TEST_REDIS}", **memory},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUNCIL_TEST_REDIS", url)
        with at_work(AgentsFile.model_validate(document), folder) as ground:
            yield ground


def ready(ground: Ground) -> tuple[int, str]:
    answer = ground.http().get("/readyz")
    return answer.status_code, "; ".join(answer.json()["reasons"])


def facts(url: str, **settings: Any) -> Facts:
    given = SHIPPED.model_copy(update={"vectors": VectorSettings(), **settings})
    return Facts(RedisFacts(url), given, LANGUAGE, vectors=Vectors())


def test_two_councils_recall_what_either_was_told(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url, served(tmp_path / "a", url) as one, served(tmp_path / "b", url) as other:
        assert chat(one, "My bike is turquoise.") == "Noted."
        # Both have callers of the same name, and so the same tenant.
        until(lambda: chat(other, QUESTION) == "My bike is turquoise.", "the window to be over")
        assert chat(other, QUESTION, session="another") == "I don't know."
        assert other.http().delete("/memory", params={"session": "s"}).json() == {"forgotten": 1}
        assert chat(one, QUESTION) == "I don't know."
        assert not (tmp_path / "a" / "state" / "memory.db").exists()


def test_while_it_is_away_nothing_untrue_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    with redis_server(tmp_path, durable=True) as url:
        ground_of = served(tmp_path, url, flush_seconds=1.0)
        ground = ground_of.__enter__()
        assert chat(ground, "My bike is turquoise.") == "Noted."
        assert ready(ground) == (200, "")
        # It waits yet, or it is there already: in both cases it is there afterwards.
        ground.http().post("/memory", json={"session": "s", "text": "Moles dig at night."}).raise_for_status()
    try:
        until(lambda: ground.figure("council_memory_usable") == 0, "it to be noticed")
        for path, body in (
            ("/memory", {"text": "Ships sail."}),
            ("/chat", {"session": "s", "message": "My car is red."}),
            ("/chat", {"session": "s", "message": QUESTION}),
        ):
            answer = ground.http().post(path, json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "memory_away"), answer.text
            assert "retry-after" in answer.headers
            assert url.removeprefix("unix://") not in answer.text, "where it is concerns the log alone"
        assert ground.http().get("/memory").status_code == 503
        assert ground.http().delete("/memory", params={"all": "true"}).status_code == 503
        status, reasons = ready(ground)
        assert status == 503
        assert reasons == "memory: it cannot be written; the log says why"
        with redis_server(tmp_path, durable=True):
            until(lambda: ready(ground) == (200, ""), "it to be back")
            until(lambda: ground.figure("council_memory_usable") == 1, "that to be noticed")
            assert chat(ground, QUESTION) == "My bike is turquoise."
            assert chat(ground, "When do moles dig?") == "Moles dig at night."
            assert chat(ground, "My car is red.") == "Noted."
            assert ground.figure("council_facts_waiting") <= 1
    finally:
        ground_of.__exit__(None, None, None)


def test_a_redis_that_is_full_loses_nothing_and_says_so(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        memory = facts(url, flush_seconds=60.0)
        kept = memory.tell("a", "one", "My bike is turquoise.")
        client.config_set("maxmemory", 1)
        for done in (memory.flush, memory.check):
            with pytest.raises(StoreAwayError, match="OutOfMemory") as caught:
                done()
            assert kept.id not in str(caught.value), "whose facts it could not write concerns nobody else"
        assert memory.waiting == 1
        client.config_set("maxmemory", 0)
        memory.check()
        assert [fact.text for fact in memory.listed("a", "one", 10)] == ["My bike is turquoise."]
        memory.close()


def test_a_redis_that_is_full_is_told_no_more_than_was_told_before_it_was_noticed(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        memory = facts(url, flush_seconds=0.05)
        client.config_set("maxmemory", 1)
        memory.tell("a", "one", "My bike is turquoise.")
        until(lambda: not memory.usable, "it to be noticed")
        for refused in (lambda: memory.tell("a", "one", "Moles dig at night."), memory.look):
            with pytest.raises(StoreAwayError, match="OutOfMemory"):
                refused()
        assert memory.waiting == 1
        client.config_set("maxmemory", 0)
        until(lambda: memory.usable, "it to be noticed")
        memory.tell("a", "one", "Moles dig at night.")
        assert len(memory.listed("a", "one", 10)) == 2
        memory.close()


def test_a_redis_that_lost_all_is_believed(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        memory = facts(url)
        vector = memory.packed("m", [[1.0, 0.0]])[0]
        memory.tell("a", "one", "My bike is turquoise.", vector)
        assert len(memory.near("a", "one", vector, 5)) == 1
        client.flushall()
        assert memory.near("a", "one", vector, 5) == []
        memory.tell("a", "one", "My bike is turquoise.", vector)
        assert [fact.text for fact, _ in memory.near("a", "one", vector, 5)] == ["My bike is turquoise."]
        memory.close()


def told(url: str, count: int, tenants: Sequence[str] = ("a",)) -> list[Fact]:
    """So many facts of each tenant with vectors of their own, as other processes left them."""
    made = [
        Fact(f"{number:015x}".ljust(24, "0"), tenant, "one", f"thing{number}", False, 1000.0 + number)
        for number, tenant in enumerate([*tenants] * count, 1)
    ]
    vectors, store = Vectors(), RedisFacts(url)
    vectors.begin("m", 2)
    packed = [vectors.packed([math.cos(number), math.sin(number)]) for number in range(len(made))]
    store.write(
        [
            Kept(fact, fact.id, (fact.text,), Stored(number_of(fact.id), fact.tenant, "one", vector))
            for fact, vector in zip(made, packed, strict=True)
        ],
        vectors.key,
    )
    store.close()
    return made


def vector_of(memory: Facts, number: int) -> bytes:
    """Of the fact that was told as the so-manieth, from 0 on."""
    return memory.packed("m", [[math.cos(number), math.sin(number)]])[0]


def test_vectors_that_could_be_read_in_part_only_are_all_read_later(tmp_path: Path) -> None:
    count = 700  # more than are read at once
    with redis_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        made = told(url, count)
        # In whichever order they are read: the last of these is not in the first part.
        broken = b"council:memory:fact:" + list(client.smembers("council:memory:vectors:m/2"))[-1]
        client.rename(broken, "elsewhere")
        client.set(broken, "no fact")
        memory = facts(url)
        with pytest.raises(StoreAwayError, match="WRONGTYPE"):
            vector_of(memory, 0)
        client.rename("elsewhere", broken)
        assert len(memory.near("a", "one", vector_of(memory, 0), count)) == count
        assert memory.lacking(1) == []
        assert memory.forget("a", fact=made[3].id) == 1
        assert len(memory.near("a", "one", vector_of(memory, 0), count)) == count - 1
        memory.close()


def test_what_was_forgotten_before_redis_failed_hides_nothing(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        made = told(url, 2)
        memory = facts(url)
        asked = vector_of(memory, 0)
        assert memory.near("a", "one", asked, 1)[0][0].id == made[0].id
        # The text goes; that the file shall be written anew cannot be said.
        client.execute_command("ACL", "SETUSER", "default", "resetkeys", "~council:memory:[^r]*")
        with pytest.raises(StoreAwayError, match="NoPermission"):
            memory.forget("a", fact=made[0].id)
        client.execute_command("ACL", "SETUSER", "default", "allkeys")
        assert [fact.id for fact, _ in memory.near("a", "one", asked, 1)] == [made[1].id]
        memory.close()


def test_what_was_archived_before_redis_failed_hides_nothing(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        tenants = ("a", "b")
        told(url, 1, tenants)
        first, broken = (tenant.decode() for tenant in client.smembers("council:memory:tenants"))
        client.rename(f"council:memory:of:{broken}", "elsewhere")
        client.set(f"council:memory:of:{broken}", "no facts")
        memory = facts(url)
        asked = vector_of(memory, tenants.index(first))
        assert len(memory.near(first, "one", asked, 1)) == 1
        with pytest.raises(StoreAwayError, match="WRONGTYPE"):
            memory.archive()
        client.rename("elsewhere", f"council:memory:of:{broken}")
        memory.tell(first, "one", "Thing, told again.", asked)
        assert [fact.text for fact, _ in memory.near(first, "one", asked, 1)] == ["Thing, told again."]
        memory.close()


def test_vectors_that_are_missing_are_made_also_when_redis_came_after_the_council(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        pass  # it is there later
    asked: list[str] = []

    def embeds(text: str) -> list[float]:
        asked.append(text)
        return [0.0, 1.0] if "dig" in text else [1.0, 0.0]

    memory = {
        **SHIPPED.model_dump(include={"empty_words"}),
        "redis": "${env:COUNCIL_TEST_REDIS}",
        "vectors": {"retry_seconds": 0.1, "wait_seconds": 30},
    }
    stages = [{"name": "agent-0", "backends": {"agent-0": 1}}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUNCIL_TEST_REDIS", url)
        with council(tmp_path, "one", stages=stages, memory=memory, also={"agent-0": {"kind": "recall"}}) as ground:
            server = ground.servers["one"]
            server.embeds = embeds
            until(lambda: len(asked) > 2, "it to be tried again and again")
            server.embeds = lambda text: []
            with redis_server(tmp_path):
                body = {"text": "Moles dig at night."}
                until(lambda: ground.http().post("/memory", json=body).status_code == 201, "Redis to be noticed")
                server.embeds = embeds
                question = "Who would be digging here?"
                until(lambda: chat(ground, question) == "Moles dig at night.", "the missing vector")


def test_what_is_forgotten_goes_from_all_files_of_redis_also_when_the_first_try_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*arguments: object) -> None:
        raise redis.TimeoutError("no answer")

    with redis_server(tmp_path, "--save", "3600", "1", durable=True) as url, redis.Redis.from_url(url) as client:
        memory = facts(url, flush_seconds=0.05)
        memory.tell("a", "one", "The safe opens with xylophone.")
        memory.flush()
        client.save()
        files = [tmp_path / "dump.rdb", *(tmp_path / "appendonlydir").glob("*.aof")]

        def holding() -> list[Path]:
            return [path for path in tmp_path.rglob("*") if path.is_file() and b"xylophon" in path.read_bytes()]

        assert set(files) >= set(holding()) >= {tmp_path / "dump.rdb"}
        assert len(holding()) > 1
        with monkeypatch.context() as patch:
            patch.setattr(redis.Redis, "info", away)
            with pytest.raises(StoreAwayError, match="no answer"):
                memory.forget("a")
        assert client.exists("council:memory:rewrite")
        until(lambda: not holding(), "no file to have it")
        until(lambda: not client.exists("council:memory:rewrite"), "it to be done")
        memory.close()


def test_forgetting_all_leaves_no_key_that_stays(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        memory = facts(url, archive_days=1e-9)
        vector = memory.packed("m", [[1.0, 0.0]])[0]
        memory.tell("a", "one", "My bike is turquoise.", vector)
        memory.flush()
        assert memory.archive() == 1
        memory.tell("a", "two", "Moles dig at night.", vector)
        assert memory.forget("a") == 2
        memory.close()
        left = {key for key in client.scan_iter("*") if client.ttl(key) == -1}
        assert left <= {b"council:memory:version", b"council:memory:rewrite"}


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ((), True),
        (("--appendonly", "yes"), False),
        (("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"), False),
        (("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb"), True),
    ],
)
def test_a_redis_that_may_lose_facts_is_told_of(tmp_path: Path, options: tuple[str, ...], warned: bool) -> None:
    with redis_server(tmp_path, *options) as url:
        store = RedisFacts(url)
        with capture_logs() as logs:
            store.look()
            store.look()
        store.close()
    assert [each["event"] for each in logs] == ["redis_not_durable"] * warned


def test_a_redis_that_came_back_otherwise_is_looked_at_anew(tmp_path: Path) -> None:
    with redis_server(tmp_path, durable=True) as url:
        store = RedisFacts(url)
        with capture_logs() as logs:
            store.look()
    with pytest.raises(StoreAwayError):
        store.look()

    def back() -> bool:
        with suppress(StoreAwayError):
            store.look()
            return True
        return False

    assert logs == []
    with redis_server(tmp_path), capture_logs() as logs:
        until(back, "it to be asked again")
        assert [each["event"] for each in logs] == ["redis_not_durable"]
    store.close()


def test_what_another_process_changed_is_read_without_listing_all_twice(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        told(url, 5)
        memory = facts(url, flush_seconds=60.0)
        asked = vector_of(memory, 0)
        assert len(memory.near("a", "one", asked, 50)) == 5
        told(url, 6)
        client.config_resetstat()
        assert len(memory.near("a", "one", asked, 50)) == 6
        assert client.info("commandstats")["cmdstat_smembers"]["calls"] == 1
        memory.close()


def test_without_it_a_council_with_a_model_is_ready_and_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNCIL_TEST_REDIS", f"unix://{tmp_path}/none.sock")
    stages = [{"name": name, "backends": {name: 1}} for name in ("agent-0", "one")]
    given: dict[str, Any] = {"memory": {"redis": "${env:COUNCIL_TEST_REDIS}"}, "also": {"agent-0": {"kind": "recall"}}}
    with council(tmp_path, "one", stages=stages, **given) as ground:
        answer = ground.http().get("/readyz")
        lacking = ["memory: it cannot be written; the log says why"]
        assert (answer.status_code, answer.json()["lacking"], answer.json()["reasons"]) == (200, lacking, [])
        assert ground.http().get("/status/production").json()["lacking"] == lacking
        assert chat(ground, QUESTION) == "hello"


def test_a_redis_that_allows_no_more_than_is_needed_is_used(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url, redis.Redis.from_url(url) as client:
        client.execute_command("ACL", "SETUSER", "default", "-@admin", "-@dangerous")
        memory = facts(url)
        memory.look()
        kept = memory.tell("a", "one", "My bike is turquoise.")
        assert memory.forget("a", fact=kept.id) == 1
        assert memory.listed("a", "one", 10) == []
        memory.close()


@pytest.mark.parametrize("url", ["http://user:geheim@x/0", "redis://user:gehe/im@x", "nothing"])
def test_a_wrong_url_is_told_without_its_password(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "MEMORY_REDIS", url)
    (tmp_path / "agents.yml").write_text('memory: {redis: "${env:MEMORY_REDIS}"}\n')
    with pytest.raises(Problem) as caught:
        make_app(load(tmp_path), tmp_path)
    assert caught.value.code == "wrong_url"
    assert "memory.redis" in str(caught.value)
    assert "gehe" not in f"{caught.value} {caught.value.hint}"
