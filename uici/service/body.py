"""Reading a request's body within limits, and JSON out of it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NoReturn, TypeVar

from anyio import CapacityLimiter, move_on_after, to_thread
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from uici.model.base import UNSTORABLE, JsonObject, JsonValue
from uici.model.errors import Problem, ProblemKind
from uici.service.context import Shared

_T = TypeVar("_T")
_Model = TypeVar("_Model", bound=BaseModel)
_INLINE_BYTES = 65_536
"""Larger bodies are parsed in a thread, so that one sender's megabytes do not stop everybody's requests."""
_REPORTED = 100  # enough to see the pattern; an answer must not outgrow the question
_LINGER_SECONDS = 2.0


class BodyTooLargeError(Exception):
    """The body is larger than allowed; `size` is what the sender declared, None when it declared nothing."""

    def __init__(self, limit: int, size: int | None) -> None:
        super().__init__(f"the body is larger than {limit} bytes")
        self.limit = limit
        self.size = size

    def problem(self) -> Problem:
        """The 413 that the sender gets."""
        declared = f"; {self.size} were announced" if self.size is not None else ""
        return Problem(
            ProblemKind.TOO_LARGE,
            "body_too_large",
            f"the body is larger than {self.limit} bytes{declared}",
            where="body",
            hint="send less at once, or raise service.max_body_bytes in platform.yml",
        )


def declared_size(request: Request) -> int | None:
    """How many bytes of body the request announces; None where it says nothing usable."""
    declared = request.headers.get("content-length")
    return int(declared) if declared is not None and re.fullmatch(r"[0-9]{1,18}", declared) else None


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, at most `limit` bytes; never holds more than that and one chunk. Raises BodyTooLargeError."""
    size = declared_size(request)
    stream = request.stream()
    if size is not None and size > limit:
        await let_it_finish(stream, limit)
        raise BodyTooLargeError(limit, size)
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise Problem(
            ProblemKind.INVALID,
            "unsupported_encoding",
            f"bodies in the encoding {encoding!r} are not read",
            where="header Content-Encoding",
            allowed=("identity",),
        )
    body = bytearray()
    try:
        async for chunk in stream:
            body += chunk
            if len(body) > limit:
                body.clear()
                await let_it_finish(stream, limit)
                raise BodyTooLargeError(limit, size)
    except ClientDisconnect:
        # Nobody reads this answer; it is no defect of ours either, which anything else would be logged as.
        raise Problem(
            ProblemKind.INVALID, "body_cut_off", f"the sender went away after {len(body)} bytes of body", where="body"
        ) from None
    return bytes(body)


async def let_it_finish(stream: AsyncIterator[bytes], most: int) -> None:
    """Drop the rest of a body, at most `most` bytes and for a short time.

    A connection that is closed with unread bytes is reset, and with it the answer gets lost on its way.
    """
    with move_on_after(_LINGER_SECONDS):
        dropped = 0
        async for chunk in stream:
            dropped += len(chunk)
            if dropped > most:
                return


async def parsed(parse: Callable[[bytes], _T], body: bytes, threads: CapacityLimiter | None = None) -> _T:
    """`parse(body)`, in a thread (of `threads`) when the body is large."""
    return parse(body) if len(body) <= _INLINE_BYTES else await to_thread.run_sync(parse, body, limiter=threads)


async def read_json_object(request: Request, context: Shared) -> JsonObject:
    """Dependency: the body as a JSON object. Raises Problem with the position of the first mistake."""
    try:
        body = await read_body(request, context.service.max_body_bytes)
    except BodyTooLargeError as error:
        raise error.problem() from None
    return await parsed(lambda content: parse_object(content, context.service.max_json_depth), body)


def body_of(model: type[_Model], *, optional: bool = False) -> Callable[[Request, Shared], Awaitable[_Model]]:
    """A dependency that reads the body as `model`; with `optional` an empty body counts as `{}`."""

    async def read(request: Request, context: Shared) -> _Model:
        if (
            optional
            and request.headers.get("content-length", "0") == "0"
            and "transfer-encoding" not in request.headers
        ):
            return validated(model, {})
        return validated(model, await read_json_object(request, context))

    return read


def validated(model: type[_Model], document: JsonObject) -> _Model:
    """`document` as `model`. Raises Problem with all that is wrong."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        errors = tuple(
            {
                "pointer": "/" + "/".join(str(part) for part in each["loc"]),
                "code": each["type"],
                "detail": each["msg"].removeprefix("Value error, "),
            }
            for each in found[:_REPORTED]
        )
        first = errors[0]
        known = list(model.model_fields) if first["code"] == "extra_forbidden" else []
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "invalid_body",
            f"{first['pointer']}: {first['detail']}" + (f" (and {len(found) - 1} more)" if len(found) > 1 else ""),
            where=first["pointer"],
            allowed=known,
            hint="GET /openapi.json describes the body with examples",
            errors=errors,
        ) from None


def parse_object(body: bytes, max_depth: int) -> JsonObject:
    """A JSON object out of `body`. Raises Problem for malformed JSON, duplicate keys, NaN, and deep nesting."""
    try:
        document = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _malformed(f"line {error.lineno} column {error.colno}: {error.msg}") from None
    except ValueError as error:
        raise _malformed(str(error)) from None
    except RecursionError:
        raise _too_deep(max_depth) from None
    _inspect(document, max_depth)
    if not isinstance(document, dict):
        raise _malformed(f"a JSON object is expected, not {_json_type(document)}")
    return document


def _inspect(document: JsonValue, max_depth: int) -> None:
    level: list[JsonValue] = [document]
    depth = 0
    while level:
        containers = [value for value in level if isinstance(value, dict | list)]
        for value in level:
            if isinstance(value, str) and UNSTORABLE.search(value):
                raise _malformed("a text holds NUL or half a surrogate pair, which cannot be kept")
        depth += bool(containers)
        if depth > max_depth:
            raise _too_deep(max_depth)
        level = []
        for container in containers:
            if isinstance(container, dict):
                level += container.keys()
                level += container.values()
            else:
                level += container


def _unique(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _malformed(detail: str) -> Problem:
    return Problem(
        ProblemKind.INVALID, "malformed_json", f"the body is not usable JSON: {detail}", where="body",
        hint="send one JSON object in UTF-8",
    )  # fmt: skip


def _too_deep(max_depth: int) -> Problem:
    return Problem(
        ProblemKind.INVALID, "json_too_deep", f"the body is nested deeper than {max_depth} levels", where="body",
        hint="nest less, or raise service.max_json_depth in platform.yml",
    )  # fmt: skip


def _json_type(value: JsonValue) -> str:
    names = {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
