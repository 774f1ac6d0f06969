"""A council in front of model servers, and the official client in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai

from council.serving import http_protocol, key_file, make_app
from council.settings import AgentsFile
from tests.doubles.model_server import ModelServer, model_server, serving

MESSAGES: list[Any] = [{"role": "user", "content": "Why is the sky blue?"}]


@dataclass
class Ground:
    """The council under test."""

    settings: AgentsFile
    servers: dict[str, ModelServer]
    url: str
    key: str
    stack: ExitStack

    def client(self, **options: Any) -> Any:
        """The official client, an `openai.OpenAI`, which by itself never asks again.

        Its types know only requests whose every parameter is written out, and no `stream` that a test is given.
        """
        made = openai.OpenAI(**{"base_url": self.url + "/v1", "api_key": self.key, "max_retries": 0, **options})
        return self.stack.enter_context(made)

    def http(self) -> httpx.Client:
        """Plain HTTP, with the key."""
        made = httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, timeout=60)
        return self.stack.enter_context(made)

    def figure(self, line: str) -> float:
        """A figure of /metrics; 0 when it is not there."""
        text = self.http().get("/metrics").text
        return next((float(each.rpartition(" ")[2]) for each in text.splitlines() if each.startswith(line + " ")), 0.0)


@contextmanager
def council(folder: Path, *names: str, stages: list[dict[str, Any]] | None = None, **more: Any) -> Iterator[Ground]:
    """A council with one model server for each of `names`, each a stage by itself unless `stages` are given.

    `more` are further members of agents.yml; those of `route` and of `backend` are added to the route and each backend,
    `also` are backends beside the servers', and `port` is where it listens.
    """
    route, each, port = more.pop("route", {}), more.pop("backend", {}), more.pop("port", 0)
    also = more.pop("also", {})
    with ExitStack() as stack:
        servers = {name: stack.enter_context(model_server()) for name in names}
        backends = {
            name: {
                "connect_seconds": 60,
                "url": server.url,
                "model": f"model-of-{name}",
                "embedding_model": "small",
                **each.get(name, {}),
            }
            for name, server in servers.items()
        }
        if stages is None:
            stages = [{"name": name, "backends": {name: 1}, "backoff_seconds": 0.01} for name in names]
        document = {
            "state": str(folder / "state" / "council.db"),
            "backends": backends | also,
            "routes": {"council": {"stages": stages, **route}},
            "embeddings": names[0],
            **more,
        }
        settings = AgentsFile.model_validate(document)
        yield stack.enter_context(at_work(settings, folder, servers, port))


@contextmanager
def at_work(
    settings: AgentsFile, folder: Path, servers: dict[str, ModelServer] | None = None, port: int = 0
) -> Iterator[Ground]:
    """The council of these settings, on this port or a free one, until the block ends."""
    with ExitStack() as stack:
        port = stack.enter_context(serving(make_app(settings, folder), port, http_protocol(settings)))
        file = key_file(settings, folder)
        key = file.read_text().strip() if file.exists() else ""
        yield Ground(settings, servers or {}, f"http://127.0.0.1:{port}", key, stack)


def chat(ground: Ground, message: str, session: str = "s") -> str:
    """What `/chat` answers."""
    answer = ground.http().post("/chat", json={"message": message, "session": session})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["answer"])
