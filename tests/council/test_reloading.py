"""A changed agents.yml is taken while requests are under way; a broken one changes nothing, and is said to be so."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from council.configuration import load
from council.routing.remote import RemoteBackend
from council.serving import key_file, make_app
from tests.council.ground import MESSAGES, Ground
from tests.doubles.model_server import ModelServer, Said, model_server, serving
from tests.waiting import until


class Site:
    """A folder with an agents.yml, and a council that looks at it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.file = folder / "agents.yml"
        self.servers: dict[str, ModelServer] = {name: stack.enter_context(model_server()) for name in ("one", "two")}
        self.document: dict[str, Any] = {
            "reload_seconds": 0.05,
            "backends": {"one": {"url": self.servers["one"].url, "model": "m", "connect_seconds": 60}},
            "routes": {"council": {"stages": [{"name": "all", "backends": {"one": 1}}]}},
        }
        self.write()
        settings = load(folder)
        port = stack.enter_context(serving(make_app(settings, folder)))
        key = key_file(settings, folder).read_text().strip()
        self.ground = Ground(settings, self.servers, f"http://127.0.0.1:{port}", key, stack)
        self.http = self.ground.http()

    def write(self, text: str | None = None) -> None:
        aside = self.file.with_suffix(".new")
        aside.write_text(yaml.safe_dump(self.document) if text is None else text)
        os.replace(aside, self.file)

    def use(self, backend: str, **route: Any) -> None:
        self.document["backends"][backend] = {"url": self.servers[backend].url, "model": "m", "connect_seconds": 60}
        stages = [{"name": "all", "backends": {backend: 1}}]
        self.document["routes"] = {"council": {"stages": stages, **route}}
        self.write()

    @property
    def configuration(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/status/production").json()["configuration"]
        return found

    def taken(self, count: int) -> None:
        line = 'council_configuration_reloads_total{result="taken"}'
        until(lambda: self.ground.figure(line) == count, f"configuration {count} to be taken")

    def refused(self) -> list[str]:
        until(lambda: not self.configuration["good"], "the configuration to be refused")
        return [str(problem) for problem in self.configuration["problems"]]

    def ask(self, **more: Any) -> Any:
        return self.http.post("/v1/chat/completions", json={"messages": MESSAGES, **more})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def test_other_backends_limits_and_budgets_are_taken(site: Site) -> None:
    site.servers["two"].says = lambda body: Said("from two")
    assert site.ask().json()["choices"][0]["message"]["content"] == "hello"
    site.use("two", most_output_tokens=7)
    site.taken(1)
    assert site.ask().json()["choices"][0]["message"]["content"] == "from two"
    assert site.servers["two"].asked[-1]["max_completion_tokens"] == 7
    site.document["backends"]["two"]["price"] = {"request": 1}
    site.document["budget"] = {"day": 0.5}
    site.write()
    site.taken(2)
    assert (site.ask().status_code, site.ask().json()["error"]["code"]) == (429, "insufficient_quota")
    site.document["budget"] = {"day": 10}
    site.write()
    site.taken(3)
    assert site.ask().status_code == 200
    site.document["routes"]["other"] = site.document["routes"]["council"]
    site.write()
    site.taken(4)
    assert [model["id"] for model in site.http.get("/v1/models").json()["data"]] == ["council", "other"]


def test_the_figures_of_a_route_end_with_it_but_not_before_its_last_request(site: Site) -> None:
    site.document["routes"]["other"] = site.document["routes"]["council"]
    site.write()
    site.taken(1)
    for route in ("other", "council"):
        assert site.ask(model=route).status_code == 200
    site.servers["one"].says = lambda body: Said("one two three four", pause=0.3)
    with site.ground.http().stream(
        "POST", "/v1/chat/completions", json={"model": "other", "messages": MESSAGES, "stream": True}
    ) as stream:
        lines = stream.iter_lines()
        next(lines)
        del site.document["routes"]["other"]
        site.write()
        site.taken(2)
        figures = site.http.get("/metrics").text
        assert 'route="other"' in figures, "there is a request of it under way"
        assert list(lines)[-2:] == ["data: [DONE]", ""]
    until(lambda: 'route="other"' not in site.http.get("/metrics").text, "the figures of the route to end")
    figures = site.http.get("/metrics").text
    for name in ("council_requests_total", "council_request_seconds_count", "council_tokens_total"):
        assert any(line.startswith(name) and 'route="council"' in line for line in figures.splitlines()), name


def test_what_is_under_way_ends_with_what_it_began_with(site: Site) -> None:
    server = site.servers["one"]
    server.says = lambda body: Said("one two three four", pause=0.6)
    pieces: list[str] = []

    def listen() -> None:
        with site.ground.http().stream(
            "POST", "/v1/chat/completions", json={"messages": MESSAGES, "stream": True}
        ) as it:
            pieces.extend(line for line in it.iter_lines() if line)

    listening = threading.Thread(target=listen)
    listening.start()
    until(lambda: server.asked, "the stream to begin")
    site.use("two")
    del site.document["backends"]["one"]
    site.write()
    until(lambda: list(site.http.get("/status/production").json()["backends"]) == ["agent-0", "two"], "the new one")
    assert site.ask().status_code == 200
    assert listening.is_alive(), "the stream has ended too early for this test to say anything"
    listening.join()
    assert pieces[-1] == "data: [DONE]"
    assert "four" in "".join(pieces)
    assert not server.left

    def alive() -> list[Any]:
        gc.collect()
        return [each for each in gc.get_objects() if type(each) is RemoteBackend and each.name == "one"]

    until(lambda: not alive(), "what nobody needs any more to be let go")


BROKEN = {
    "no YAML": ("{", "agents.yml"),
    "an unknown member": ("colour: red\n", "colour"),
    "a backend that is not there": ("embeddings: nobody\n", "nobody"),
    "a secret that is not there": (
        "callers: {ann: {key: '${env:COUNCIL_TEST_NOT_THERE}'}}\n",
        "COUNCIL_TEST_NOT_THERE",
    ),
    "another state": ("state: elsewhere.db\n", "state is taken up at a start only"),
    "another address": ("service: {listen: '127.0.0.1:1'}\n", "service.listen is taken up at a start only"),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_broken_changes_nothing_and_is_said(site: Site, text: str, said: str) -> None:
    before = site.configuration["taken_at"]
    site.write(text)
    assert said in " ".join(site.refused())
    assert site.configuration["taken_at"] == before
    assert site.ground.figure("council_configuration_good") == 0
    assert site.ask().json()["choices"][0]["message"]["content"] == "hello"
    site.write()
    until(lambda: site.configuration["good"], "what is in force to lie there again")
    assert site.ground.figure("council_configuration_good") == 1
    site.use("two")
    site.taken(1)


def test_a_backend_that_stays_keeps_what_is_known_of_it(site: Site) -> None:
    site.document["backends"]["one"]["breaker"] = {"failures": 1, "open_seconds": 3600}
    site.write()
    site.taken(1)
    site.servers["one"].says = lambda body: Said(status=500)
    assert site.ask().status_code == 502
    site.document["routes"]["council"]["most_output_tokens"] = 9
    site.write()
    site.taken(2)
    asked = len(site.servers["one"].asked)
    assert "left alone" in site.ask().json()["error"]["message"]
    assert len(site.servers["one"].asked) == asked
