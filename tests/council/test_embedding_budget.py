"""Embeddings are paid like answers: reserved at their worst, settled as they were counted, over all processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

from council.configuration import load
from tests.council.ground import Ground, council
from tests.council.test_budget import spent_or_none
from tests.doubles.model_server import Said, model_server
from tests.real.components import free_port
from tests.real.process import stop
from tests.waiting import until
from uici.catalogue.diagnostics import CatalogueError

DEAR = {"cloud": {"price": {"input_per_million": 1000}}}
"""A thousandth of a dollar for each token."""


def embed(ground: Ground, text: Any) -> httpx.Response:
    return ground.http().post("/v1/embeddings", json={"model": "any", "input": text})


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("ab", 2 + 8),
        ("ü", 2 + 8),
        (["ab", "c"], 3 + 16),
        ([5, 6, 7], 3 + 8),
        ([[5, 6, 7], [8]], 4 + 16),
    ],
)
def test_reserved_is_what_the_input_may_cost_at_most(tmp_path: Path, text: Any, tokens: int) -> None:
    most = Decimal(tokens) / 1000
    with council(tmp_path, "cloud", backend=DEAR, budget={"day": most}) as ground:
        ground.servers["cloud"].said_of_embeddings = lambda body: Said(usage=None)
        ground.servers["cloud"].embeds = lambda text: [1.0]
        assert embed(ground, text).status_code == 200
        until(lambda: spent_or_none(ground) == most, "nobody counted, so the worst")
    with council(tmp_path / "less", "cloud", backend=DEAR, budget={"day": most - Decimal("0.001")}) as ground:
        refused = embed(ground, text)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
        assert ground.servers["cloud"].asked == []


@pytest.mark.parametrize(
    ("said", "status", "counted"),
    [
        (Said(usage=(3, 0)), 200, "0.003"),
        (Said(usage=None), 200, "0.013"),
        (Said(raw=b"?"), 502, "0.039"),  # three times asked
        (Said(status=400, error={"message": "too long", "code": "too_long"}), 400, "0"),
        (Said(status=500), 502, "0"),
        (Said(status=429), 503, "0"),
    ],
    ids=["counted", "uncounted", "garbage", "wrong", "failed", "overloaded"],
)
def test_what_counts_after_each_kind_of_end(tmp_path: Path, said: Said, status: int, counted: str) -> None:
    with council(tmp_path, "cloud", backend=DEAR, budget={"day": 1}) as ground:
        ground.servers["cloud"].said_of_embeddings = lambda body: said
        answer = embed(ground, "abcde")
        assert answer.status_code == status, answer.text
        until(lambda: spent_or_none(ground) == Decimal(counted), f"${counted} to be counted")
        result = "answered" if status == 200 else answer.json()["error"]["code"]
        assert ground.figure(f'council_requests_total{{result="{result}",route="embeddings"}}') == 1
        if status == 200:
            assert ground.figure('council_cost_usd_total{route="embeddings",stage="embeddings"}') == float(counted)
            assert ground.http().get("/metrics/production").json()["routes"]["embeddings"]["5m"]["requests"] == 1


def test_who_leaves_pays_at_worst_and_the_backend_is_left(tmp_path: Path) -> None:
    with council(tmp_path, "cloud", backend=DEAR) as ground:
        server = ground.servers["cloud"]
        server.said_of_embeddings = lambda body: Said(delay=30.0)
        with pytest.raises(openai.APITimeoutError):
            ground.client(timeout=0.5).embeddings.create(model="any", input="abcde")
        until(lambda: spent_or_none(ground) == Decimal("0.013"), "it to be counted")
        until(lambda: len(server.left) == 1, "the connection to the backend to be closed")


def test_what_costs_nothing_goes_on_without_money_and_limits_are_its_own(tmp_path: Path) -> None:
    with council(tmp_path, "local", budget={"day": 0}) as ground:
        assert embed(ground, "abcde").status_code == 200
    budget = {"routes": {"embeddings": "0.02"}}
    with council(tmp_path / "own", "cloud", backend=DEAR, budget=budget) as ground:
        ground.servers["cloud"].said_of_embeddings = lambda body: Said(usage=(10, 0))
        assert embed(ground, "abcde").status_code == 200
        until(lambda: spent_or_none(ground) == Decimal("0.01"), "it to be settled")
        refused = embed(ground, "abcde")
        assert refused.status_code == 429
        assert "the budget of this route embeddings has $0.01 left" in refused.json()["error"]["message"]
        assert ground.figure('council_budget_refusals_total{scope="route",whose="embeddings"}') == 1


def test_embeddings_that_fail_are_asked_again_and_then_left_alone_but_not_the_answers(tmp_path: Path) -> None:
    breaker = {"cloud": {"breaker": {"failures": 3, "open_seconds": 60}}}
    with council(tmp_path, "cloud", backend=breaker) as ground:
        server = ground.servers["cloud"]
        server.said_of_embeddings = lambda body: Said(status=500)
        assert embed(ground, "abcde").status_code == 502
        assert len(server.asked) == 3
        again = embed(ground, "abcde")
        assert (again.status_code, again.json()["error"]["code"]) == (503, "backends_left_alone")
        assert "retry-after" in again.headers
        assert len(server.asked) == 3
        assert ground.client().chat.completions.create(model="council", messages=[{"role": "user", "content": "?"}])


def test_an_input_that_nobody_can_price_is_refused(tmp_path: Path) -> None:
    wrong: list[Any] = ["", [], [True], [[]], ["a", 5], [5, "a"], [["a"]], {"a": 1}, None]
    with council(tmp_path, "cloud", backend=DEAR) as ground:
        for text in wrong:
            refused = embed(ground, text)
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input"), text
        assert ground.servers["cloud"].asked == []


def test_no_route_has_the_name_under_which_embeddings_are_counted(tmp_path: Path) -> None:
    stages = [{"name": "agent-0", "backends": {"agent-0": 1}}]
    (tmp_path / "agents.yml").write_text(yaml.safe_dump({"routes": {"embeddings": {"stages": stages}}}))
    with pytest.raises(CatalogueError, match="reserved_name"):
        load(tmp_path)


@contextmanager
def serving(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`council serve` as a process of its own; several share what is in `folder`."""
    own = folder / str(port)
    own.mkdir()
    document = yaml.safe_load((folder / "agents.yml").read_text())
    (own / "agents.yml").write_text(yaml.safe_dump(document | {"service": {"listen": f"127.0.0.1:{port}"}}))
    program = [str(Path(sys.executable).with_name("council")), "serve", "--config", str(own)]
    with (own / "log").open("wb") as log:
        process = subprocess.Popen(program, stdout=log, stderr=subprocess.STDOUT)
    try:

        def answers() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
            except httpx.HTTPError:
                return False

        until(answers, "the council", lambda: (own / "log").read_text())
        yield process
    finally:
        stop(process)


def test_two_processes_spend_no_more_than_one_budget_though_one_is_killed(tmp_path: Path) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(model_server())
        server.said_of_embeddings = lambda body: Said(delay=1.0, usage=(100, 0))
        document = {
            "state": str(tmp_path / "state" / "council.db"),
            "callers": {"all": {"key": "${env:COUNCIL_TEST_KEY}"}},
            "backends": {
                "cloud": {
                    "url": server.url,
                    "model": "m",
                    "embedding_model": "e",
                    "price": {"request": "0.1"},
                }
            },
            "embeddings": "cloud",
            "budget": {"day": 1},
        }
        (tmp_path / "agents.yml").write_text(yaml.safe_dump(document))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("COUNCIL_TEST_KEY", "sesame")
        ports = [free_port(), free_port()]
        doomed, _ = (stack.enter_context(serving(tmp_path, port)) for port in ports)

        def ask(number: int) -> int:
            url = f"http://127.0.0.1:{ports[number % 2]}/v1/embeddings"
            headers = {"authorization": "Bearer sesame"}
            try:
                answer = httpx.post(url, json={"input": "x"}, headers=headers, timeout=60, trust_env=False)
            except httpx.HTTPError:
                return 0
            return answer.status_code

        with ThreadPoolExecutor(50) as pool:
            asked = [pool.submit(ask, number) for number in range(50)]
            until(lambda: len(server.asked) == 10, "ten to be let in")
            doomed.kill()
            statuses = [each.result() for each in asked]
        assert set(statuses) <= {0, 200, 429}
        assert [ask(1), ask(3)] == [429, 429], "what the killed one held is not given out again"
        assert len(server.asked) == 10
