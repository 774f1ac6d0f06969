"""The index of guides in a real Redis: the same answers as in SQLite, shared, lost and away."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from structlog.testing import capture_logs

from council.configuration import load
from council.memory.guide_index import SqliteIndex
from council.memory.guide_redis import RedisIndex
from council.memory.guides import Guides
from council.serving import make_app
from tests.council.test_guides import LANGUAGE, NAMED, PAYMENT, RESTART, UNKNOWN, Folder, asked
from tests.real.redis import redis_server
from uici.model.errors import Problem

QUESTIONS = (
    "How do I restart the payment service safely?",
    "Who owns the payment service?",
    "Who wrote the payment service?",
    "What colour is the dashboard of the payment service?",
    "How do I restart the search cluster?",
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with redis_server(tmp_path) as url:
        yield url


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.write("payment", PAYMENT)
    return made


def keys(url: str) -> list[str]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return sorted(key for key in client.scan_iter("*") if client.ttl(key) == -1)


def test_it_answers_as_sqlite_does_and_is_made_once_for_all(server: str, folder: Folder, tmp_path: Path) -> None:
    with ExitStack() as stack:

        def opened(index: SqliteIndex | RedisIndex) -> Guides:
            made = Guides(index, folder.path, LANGUAGE, 0)
            stack.callback(made.close)
            return made

        here, one = opened(SqliteIndex(tmp_path / "guides.db")), opened(RedisIndex(server))
        assert asked(one, QUESTIONS[0]) == f"{RESTART} {NAMED}"
        with capture_logs() as logs:
            other = opened(RedisIndex(server))
        assert not logs
        for question in QUESTIONS:
            assert asked(one, question) == asked(other, question) == asked(here, question)
        before = keys(server)
        folder.write("payment", PAYMENT.replace("Ada", "Grace"))
        with capture_logs() as logs:
            assert "Grace" in asked(one, "Who owns the payment service?")
            assert "Grace" in asked(other, "Who owns the payment service?")
        assert [each["event"] for each in logs] == ["guides_indexed"]
        # Nothing of the former generation stays for ever, and coming back to it finds it whole.
        assert set(keys(server)) & set(before) == {"council:guides:current"}
        folder.write("payment", PAYMENT)
        assert "Ada" in asked(one, "Who owns the payment service?")
        assert keys(server) == before


def test_what_was_lost_is_made_again_and_what_is_away_is_done_without(folder: Folder, tmp_path: Path) -> None:
    now = [0.0]
    with redis_server(tmp_path) as url:
        guides = Guides(RedisIndex(url), folder.path, LANGUAGE, 0, lambda: now[0])
        with redis.Redis.from_url(url) as client:
            client.flushall()
        assert "Ada" in asked(guides, "Who owns the payment service?")
    with capture_logs() as logs:
        assert asked(guides, "Who owns the payment service?") == UNKNOWN
        assert asked(guides, "Who owns the payment service?") == UNKNOWN
    assert [each["event"] for each in logs] == ["guides_away"]  # the second one did not ask Redis
    folder.write("payment", PAYMENT.replace("Ada", "Grace"))
    with redis_server(tmp_path):
        now[0] += 2
        assert "Grace" in asked(guides, "Who owns the payment service?")
    guides.close()
    # It need not be there at the start.
    late = Guides(RedisIndex(url), folder.path, LANGUAGE, 0, lambda: now[0])
    with redis_server(tmp_path):
        now[0] += 2
        assert "Grace" in asked(late, "Who owns the payment service?")
    late.close()


@pytest.mark.parametrize("url", ["http://user:geheim@x/0", "redis://user:gehe/im@x", "nothing"])
def test_a_wrong_url_is_told_without_its_password(
    url: str, tmp_path: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "GUIDES_REDIS", url)
    (tmp_path / "agents.yml").write_text('guides: {folder: guides, redis: "${env:GUIDES_REDIS}"}\n')
    with pytest.raises(Problem) as caught:
        make_app(load(tmp_path), tmp_path)
    assert caught.value.code == "wrong_url"
    assert "gehe" not in f"{caught.value} {caught.value.hint}"
