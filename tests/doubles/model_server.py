"""A server with the OpenAI API at the process boundary, whose answers are written down beforehand.

Held to the same conformance tests as vLLM: tests/council/test_backend_conformance.py.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from tests.waiting import until

Json = dict[str, Any]


@dataclass
class Said:
    """One answer."""

    text: str = "hello"
    id: str = "chatcmpl-1"
    status: int = 200
    error: Json | None = None
    headers: dict[str, str] = field(default_factory=dict)
    tool_calls: list[Json] | None = None
    logprob: float | None = None
    usage: tuple[int, int] | None = (7, 5)
    cut_off: bool = False
    """It ends because it reached the tokens that it may have."""
    delay: float = 0.0
    """Before the answer, or the first piece of it."""
    pause: float = 0.0
    """Between two pieces, from the first content on."""
    breaks_after: int | None = None
    """How many pieces come before the connection breaks."""
    error_after: int | None = None
    """How many pieces come before an error in the stream."""
    raw: bytes | None = None
    """The body as it stands, instead of all this."""


class ModelServer:
    """What it says next is `says(body)`; what it was asked is in `asked`."""

    def __init__(self) -> None:
        self.says: Callable[[Json], Said] = lambda body: Said()
        self.embeds: Callable[[str], list[float]] = lambda text: [float(len(text)), 1.0]
        self.said_of_embeddings: Callable[[Json], Said] = lambda body: Said(usage=(len(body["input"]), 0))
        """How embeddings are given: late, refused, uncounted."""
        self.asked: list[Json] = []
        self.keys: list[str | None] = []
        self.left: list[Json] = []
        """Requests whose client did not wait for the end."""
        self.port = 0
        self.models = ["any", "council"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/completions", self._completions, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/v1/embeddings", self._embeddings, methods=["POST"]),
            ]
        )

    async def _chat(self, request: Request) -> Response:
        return await self._said(request, chat=True)

    async def _completions(self, request: Request) -> Response:
        return await self._said(request, chat=False)

    async def _models(self, request: Request) -> Response:
        data = [{"id": name, "object": "model", "owned_by": "tests"} for name in self.models]
        return JSONResponse({"object": "list", "data": data})

    async def _embeddings(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        said = self.said_of_embeddings(body)
        if await self._gone(request, body, said.delay):
            return Response()
        if (otherwise := _otherwise(said)) is not None:
            return otherwise
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [
            {"object": "embedding", "index": index, "embedding": self.embeds(text)} for index, text in enumerate(texts)
        ]
        usage = None if said.usage is None else {"prompt_tokens": said.usage[0], "total_tokens": said.usage[0]}
        return JSONResponse({"object": "list", "data": data, "model": body["model"], "usage": usage})

    async def _said(self, request: Request, *, chat: bool) -> Response:
        body = await request.json()
        self.asked.append(body)
        self.keys.append(request.headers.get("authorization"))
        said = self.says(body)
        if not body.get("stream"):
            if await self._gone(request, body, said.delay):
                return Response()
        if (otherwise := _otherwise(said)) is not None:
            return otherwise
        if body.get("stream"):
            return StreamingResponse(self._pieces(body, said, chat), media_type="text/event-stream")
        return JSONResponse(_whole(body, said, chat))

    async def _gone(self, request: Request, body: Json, delay: float) -> bool:
        waited = 0.0
        while waited < delay:
            if await request.is_disconnected():
                self.left.append(body)
                return True
            await asyncio.sleep(0.02)
            waited += 0.02
        return False

    async def _pieces(self, body: Json, said: Said, chat: bool) -> AsyncIterator[bytes]:
        ended = False
        try:
            await asyncio.sleep(said.delay)
            for number, chunk in enumerate(_chunks(body, said, chat)):
                if number == said.breaks_after:
                    raise ConnectionResetError("as it was told to")
                if number == said.error_after:
                    yield _event({"error": {"message": "out of memory", "type": "server_error", "code": 500}})
                    ended = True
                    return
                yield _event(chunk)
                if number:
                    await asyncio.sleep(said.pause)
            yield b"data: [DONE]\n\n"
            ended = True
        finally:
            if not ended:
                self.left.append(body)


def _otherwise(said: Said) -> Response | None:
    """What is no answer; None where there is to be one."""
    if said.raw is not None:
        return Response(said.raw, said.status, media_type="application/json", headers=said.headers)
    if said.status >= 300:
        error = said.error or {"message": "no", "type": "server_error", "param": None, "code": None}
        return JSONResponse({"error": error}, said.status, headers=said.headers)
    return None


def _usage(said: Said) -> Json | None:
    if said.usage is None:
        return None
    read, written = said.usage
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _ending(said: Said) -> str:
    return "length" if said.cut_off else "tool_calls" if said.tool_calls else "stop"


def _whole(body: Json, said: Said, chat: bool) -> Json:
    choice: Json = {"index": 0, "finish_reason": _ending(said), "logprobs": None}
    if chat:
        choice["message"] = {"role": "assistant", "content": None if said.tool_calls else said.text}
        if said.tool_calls:
            choice["message"]["tool_calls"] = said.tool_calls
        if said.logprob is not None and body.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": said.text, "logprob": said.logprob, "top_logprobs": []}]}
    else:
        choice["text"] = said.text
    return {
        "id": said.id,
        "object": "chat.completion" if chat else "text_completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": _usage(said),
    }


def _chunks(body: Json, said: Said, chat: bool) -> Iterator[Json]:
    head = {
        "id": said.id,
        "object": "chat.completion.chunk" if chat else "text_completion",
        "created": 1,
        "model": body["model"],
    }
    if chat:
        yield {**head, "choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]}
    if said.tool_calls:
        calls = [{"index": number, **call} for number, call in enumerate(said.tool_calls)]
        yield {**head, "choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}]}
    for word in said.text.split(" ") if said.text and not said.tool_calls else ():
        piece = {"delta": {"content": word + " "}} if chat else {"text": word + " "}
        yield {**head, "choices": [{"index": 0, **piece, "finish_reason": None}]}
    end: Json = {"delta": {}} if chat else {"text": ""}
    yield {**head, "choices": [{"index": 0, **end, "finish_reason": _ending(said)}]}
    if (body.get("stream_options") or {}).get("include_usage") and said.usage is not None:
        yield {**head, "choices": [], "usage": _usage(said)}


def _event(document: Json) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


@contextmanager
def serving(app: ASGIApp, port: int = 0, http: Any = "auto") -> Iterator[int]:
    """The application on a port, or a free one, in a thread."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False, http=http)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started, "the server to start")
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """A server that is asked over HTTP."""
    server = ModelServer()
    with serving(server.app()) as port:
        server.port = port
        yield server
