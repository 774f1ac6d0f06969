"""Processes that stand before and beside the council for a benchmark: a model that takes no time, the barest proxy.

Belongs here: what such a process runs, and how LiteLLM is had. Does not belong here: what is measured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen, run
from typing import Any

import aiohttp
import uvicorn
import yaml
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from tests.benchmarks.served import Connection
from tests.benchmarks.served import request as made
from tests.real.components import REPOSITORY, free_port
from tests.waiting import until

LITELLM = "UICI_BENCH_LITELLM"
"""The folder of a virtual environment that has `litellm[proxy]`; without it one is made."""
PATH = "/v1/chat/completions"
KEY = "sk-benchmark"
_START_SECONDS = 180.0
_HEAD = b'{"id":"chatcmpl-1","created":1,"model":"m",'
_USAGE = b'"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}'
_WHOLE = (
    _HEAD + b'"object":"chat.completion","choices":[{"index":0,"finish_reason":"stop","logprobs":null,'
    b'"message":{"role":"assistant","content":"hello there"}}],' + _USAGE + b"}"
)
_CHUNK = (
    b"data: " + _HEAD + b'"object":"chat.completion.chunk","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n'
)
_STREAM = (
    _CHUNK % (b'{"role":"assistant","content":""}', b"null"),
    _CHUNK % (b'{"content":"hello"}', b"null"),
    _CHUNK % (b'{"content":" there"}', b"null"),
    _CHUNK % (b"{}", b'"stop"'),
    b"data: " + _HEAD + b'"object":"chat.completion.chunk","choices":[],' + _USAGE + b"}\n\n",
    b"data: [DONE]\n\n",
)


async def _upstream(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    stream = b'"stream":true' in body.replace(b" ", b"")
    kind = b"text/event-stream" if stream else b"application/json"
    headers = [(b"content-type", kind)] + ([] if stream else [(b"content-length", str(len(_WHOLE)).encode())])
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in _STREAM if stream else (_WHOLE,):
        await send({"type": "http.response.body", "body": piece, "more_body": stream})
    if stream:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def upstream(port: int) -> None:
    """A model that answers at once."""
    uvicorn.run(_upstream, host="127.0.0.1", port=port, log_level="error", access_log=False, lifespan="off")


def bare(port: int, behind: int) -> None:
    """The least that a gateway of this kind can be: a route of FastAPI and one HTTP client."""
    app = FastAPI()
    sessions: list[aiohttp.ClientSession] = []

    @app.post(PATH)
    async def forward(request: Request) -> Response:
        if not sessions:
            sessions.append(aiohttp.ClientSession())
        body = await request.json()
        answer = await sessions[0].post(f"http://127.0.0.1:{behind}{PATH}", json=body)
        if body.get("stream"):

            async def pieces() -> AsyncIterator[bytes]:
                async for piece in answer.content.iter_any():
                    yield piece

            return StreamingResponse(pieces(), media_type="text/event-stream")
        return Response(await answer.read(), media_type="application/json")

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


@dataclass(frozen=True)
class Served:
    """One process that is asked."""

    name: str
    port: int
    pid: int
    key: str

    def request(self, *, stream: bool = False) -> bytes:
        """A question as bytes."""
        body = b'{"model":"council","messages":[{"role":"user","content":"Why is the sky blue?"}],"stream":%s}'
        headers = {"Authorization": f"Bearer {self.key}"}
        return made(PATH, body % (b"true" if stream else b"false"), headers)


@contextmanager
def process(
    name: str, port: int, command: Sequence[str], *, key: str = KEY, environment: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """A process until it is no longer needed; it is there once it answers a question with 200."""
    started = Popen(command, cwd=REPOSITORY, stdout=DEVNULL, stderr=DEVNULL, env={**os.environ, **(environment or {})})
    try:
        served = Served(name, port, started.pid, key)

        def answers() -> bool:
            if started.poll() is not None:
                raise RuntimeError(f"{name} ended with {started.returncode}")
            try:
                connection = Connection(port)
            except OSError:
                return False
            try:
                return connection.send(served.request()) == 200
            except (OSError, StopIteration):
                return False
            finally:
                connection.close()

        until(answers, f"{name} to answer", seconds=_START_SECONDS)
        yield served
    finally:
        started.terminate()
        started.wait()


@contextmanager
def a_model() -> Iterator[Served]:
    """The model that takes no time."""
    port = free_port()
    entry = f"from tests.benchmarks.models import upstream; upstream({port})"
    with process("the model itself", port, [sys.executable, "-c", entry]) as served:
        yield served


@contextmanager
def the_floor(model: Served) -> Iterator[Served]:
    """FastAPI and an HTTP client."""
    port = free_port()
    entry = f"from tests.benchmarks.models import bare; bare({port}, {model.port})"
    with process("FastAPI and a client", port, [sys.executable, "-c", entry]) as served:
        yield served


@contextmanager
def the_council(folder: Path, model: Served) -> Iterator[Served]:
    """`council serve` with one stage."""
    port = free_port()
    folder.mkdir(parents=True)
    key = "council-benchmark-key"
    (folder / "key").write_text(key)
    document = {
        "callers": {"bench": {"key": f"${{file:{folder / 'key'}}}"}},
        "backends": {"model": {"url": f"http://127.0.0.1:{model.port}/v1", "model": "m"}},
        "routes": {"council": {"stages": [{"name": "model", "backends": {"model": 1}}]}},
    }
    (folder / "agents.yml").write_text(yaml.safe_dump(document))
    command = [str(Path(sys.executable).parent / "council"), "serve", "--config", str(folder)]
    with process("the council", port, [*command, "--listen", f"127.0.0.1:{port}"], key=key) as served:
        yield served


@contextmanager
def litellm(folder: Path, model: Served, programs: Path) -> Iterator[Served]:
    """LiteLLM's proxy with one model."""
    port = free_port()
    folder.mkdir(parents=True)
    parameters = {"model": "openai/m", "api_base": f"http://127.0.0.1:{model.port}/v1", "api_key": "none"}
    document = {
        "model_list": [{"model_name": "council", "litellm_params": parameters}],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False, "set_verbose": False},
    }
    (folder / "litellm.yml").write_text(yaml.safe_dump(document))
    command = [str(programs / "litellm"), "--config", str(folder / "litellm.yml"), "--host", "127.0.0.1"]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    with process("LiteLLM", port, [*command, "--port", str(port)], environment=environment) as served:
        yield served


def litellm_programs(folder: Path) -> Path | None:
    """Where its programs lie: as $UICI_BENCH_LITELLM says, else installed into `folder`; None where that fails."""
    given = os.environ.get(LITELLM)
    if given:
        return Path(given) / "bin"
    if run([sys.executable, "-m", "venv", str(folder)], check=False).returncode:
        return None
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return None if run([*pip, "litellm[proxy]"], check=False).returncode else folder / "bin"
