"""A backend behind HTTP: vLLM, or any other server with an OpenAI-compatible API."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import aiohttp
from pydantic_core import from_json, to_json

from council.asking import Answer, Ask, BackendError, Chunks, Usage, has_content
from council.settings import Backend as Settings
from uici.model.base import JsonObject
from uici.model.masking import mask

_PATHS = {"chat": "/chat/completions", "completions": "/completions"}
_EMBEDDINGS = "/embeddings"
_LONGEST_SAID = 500
_LONGEST_LINE = 4_194_304
_LONGEST_ANSWER = 67_108_864
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may fare better."""
_DATA = b"data:"
_DONE = b"[DONE]"


class RemoteBackend:
    """One server. Connections are kept and used again."""

    def __init__(self, name: str, settings: Settings, key: str | None) -> None:
        self.name = name
        self._settings = settings
        self._url = (settings.url or "").rstrip("/")
        self._headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        self._session: aiohttp.ClientSession | None = None

    async def answer(self, ask: Ask, body: JsonObject) -> Answer:
        """The whole answer. Raises BackendError."""
        body = {**body, "model": self._settings.model, "stream": False}
        body.pop("stream_options", None)
        document = await self._whole(_PATHS[ask.kind], body)
        if not document.get("choices"):
            raise self._broken("answered without choices")
        return Answer(document, Usage.of(document.get("usage")), _likelihood(document))

    async def stream(self, ask: Ask, body: JsonObject) -> Chunks:
        """The answer in pieces. Raises BackendError for what fails before the first content."""
        # Its own numbers are wanted also where the client does not want to see them.
        options = {**(body.get("stream_options") or {}), "include_usage": True}
        body = {**body, "model": self._settings.model, "stream": True, "stream_options": options}
        response = await self._send(_PATHS[ask.kind], body)
        chunks = self._chunks(response)
        early: list[JsonObject] = []
        try:
            async with asyncio.timeout(self._settings.first_seconds):
                async for chunk in chunks:
                    early.append(chunk)
                    if has_content(chunk):
                        return _with_first(early, chunks)
        except TimeoutError:
            await _close(chunks, response)
            raise self._late() from None
        except BaseException:
            await _close(chunks, response)
            raise
        await _close(chunks, response)
        raise self._broken("ended its stream before any content")

    async def embed(self, body: JsonObject) -> Answer:
        """Embeddings. Raises BackendError."""
        document = await self._whole(_EMBEDDINGS, {**body, "model": self._settings.embedding_model})
        return Answer(document, Usage.of(document.get("usage")))

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _whole(self, path: str, body: JsonObject) -> JsonObject:
        try:
            async with asyncio.timeout(self._settings.first_seconds):
                response = await self._send(path, body)
                try:
                    content = await response.content.read(_LONGEST_ANSWER + 1)
                    while not response.content.at_eof() and len(content) <= _LONGEST_ANSWER:
                        content += await response.content.read(_LONGEST_ANSWER + 1 - len(content))
                finally:
                    response.release()
        except TimeoutError:
            raise self._late() from None
        except aiohttp.ClientError as error:
            raise self._broken(f"broke off: {_said(error)}") from None
        if len(content) > _LONGEST_ANSWER:
            raise self._broken(f"answered with more than {_LONGEST_ANSWER} bytes")
        try:
            document = from_json(content)
        except ValueError:
            raise self._broken("answered with what is no JSON") from None
        if not isinstance(document, dict):
            raise self._broken("answered with JSON that is no object")
        return document

    async def _send(self, path: str, body: JsonObject) -> aiohttp.ClientResponse:
        """The response once its head is there and says 2xx."""
        try:
            response = await self._open().post(self._url + path, data=to_json(body), headers=self._headers)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            # Nothing was sent, so nothing was charged.
            raise BackendError(
                "backend_unreachable",
                f"{self.name} cannot be reached: {_said(error)}",
                again=True,
                faulty=True,
                charged=False,
            ) from None
        except TimeoutError:
            raise self._late() from None
        except aiohttp.ClientError as error:
            raise self._broken(f"broke off: {_said(error)}") from None
        if response.status < 300:
            return response
        try:
            member = "embedding_model" if path == _EMBEDDINGS else "model"
            raise await self._refused(response, body["model"], f"backends.{self.name}.{member}")
        finally:
            response.close()

    async def _refused(self, response: aiohttp.ClientResponse, model: str, where: str) -> BackendError:
        """`where` in agents.yml `model` is named."""
        status = response.status
        document: Any = None
        with suppress(aiohttp.ClientError, TimeoutError, ValueError):
            document = from_json(await response.content.read(65_536))
        error = document.get("error", document) if isinstance(document, dict) else None
        said = error.get("message") if isinstance(error, dict) else error
        text = mask(str(said or response.reason or "without a reason"))[:_LONGEST_SAID]
        about_request = 400 <= status < 500 and status not in _AGAIN | {401, 403, 404}
        code, what = "backend_refused", f"{self.name} answered {status}: {text}"
        if status == 404 and _lacks_model(error):
            code = "backend_lacks_model"
            what = (
                f"{self.name} does not serve the model {model!r}; load it there (of vLLM: an adapter by"
                f" --lora-modules), or correct {where} in agents.yml; it said: {text}"
            )
        return BackendError(
            code,
            what,
            status=status,
            again=status in _AGAIN,
            faulty=not about_request and status != 429,
            charged=False,
            retry_seconds=_retry_after(response.headers),
            document=error if about_request and isinstance(error, dict) else None,
        )

    async def _chunks(self, response: aiohttp.ClientResponse) -> Chunks:
        """What the stream holds until `[DONE]`. Raises BackendError when it ends otherwise."""
        try:
            while True:
                async with asyncio.timeout(self._settings.idle_seconds):
                    line = await response.content.readline()
                if not line:
                    raise self._broken("ended its stream without [DONE]")
                if not line.startswith(_DATA):
                    continue  # a comment, or an empty line between two events
                data = line[len(_DATA) :].strip()
                if data == _DONE:
                    return
                chunk = from_json(data)
                if not isinstance(chunk, dict) or chunk.get("error") is not None:
                    raise self._broken("sent an error in its stream")
                yield chunk
        except TimeoutError:
            raise self._broken(f"sent nothing for {self._settings.idle_seconds:g} s") from None
        except ValueError:
            raise self._broken("sent what is no JSON, or a line without end") from None
        except aiohttp.ClientError as error:
            raise self._broken(f"broke off: {_said(error)}") from None
        finally:
            # Without this the rest would be read into a buffer; closed, the server notices and stops.
            response.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._settings.at_once, ttl_dns_cache=30),
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=self._settings.connect_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=_LONGEST_LINE,
                auto_decompress=True,
            )
        return self._session

    def _late(self) -> BackendError:
        return BackendError(
            "backend_late",
            f"{self.name} gave no content within {self._settings.first_seconds:g} s",
            again=True,
            faulty=True,
            charged=True,
        )

    def _broken(self, what: str) -> BackendError:
        return BackendError("backend_broken", f"{self.name} {what}", again=True, faulty=True, charged=True)


async def _close(chunks: Chunks, response: aiohttp.ClientResponse) -> None:
    await chunks.aclose()
    response.close()


async def _with_first(early: list[JsonObject], chunks: Chunks) -> Chunks:
    try:
        for chunk in early:
            yield chunk
        async for chunk in chunks:
            yield chunk
    finally:
        await chunks.aclose()


def _likelihood(document: JsonObject) -> float | None:
    """The geometric mean of the tokens' probabilities, where the backend gives them."""
    given = (document["choices"][0].get("logprobs") or {}) if document["choices"] else {}
    values = [item.get("logprob") for item in given.get("content") or ()] or given.get("token_logprobs") or []
    numbers = [value for value in values if isinstance(value, int | float)]
    return math.exp(sum(numbers) / len(numbers)) if numbers else None


def _lacks_model(error: object) -> bool:
    """Whether a 404 is about the model, as vLLM and OpenAI say it, and not about the address."""
    return isinstance(error, dict) and (error.get("param") == "model" or error.get("code") == "model_not_found")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    return float(text) if text.isdecimal() else None


def _said(error: BaseException) -> str:
    return str(mask(str(error) or type(error).__name__))[:_LONGEST_SAID]
