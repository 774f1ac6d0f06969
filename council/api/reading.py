"""Request bodies: bounded, JSON, and of the shape that the API promises as far as the council looks into them."""

from __future__ import annotations

import time
from typing import Any

from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from council.asking import Ask, Kind
from council.errors import RefusalError
from council.settings import AgentsFile
from uici.model.base import JsonObject

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_LONGEST_SESSION = 256
_COUNTS = ("n", "max_tokens", "max_completion_tokens")
_MOST_ANSWERS = 16
SESSION = "x-session-id"
"""Header that names a conversation; else the member `user` of the body does."""


async def read_object(request: Request, most_bytes: int) -> JsonObject:
    """The body. Raises RefusalError with 400 or 413."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most_bytes:
        raise _too_large(most_bytes)
    content = bytearray()
    try:
        async for piece in request.stream():
            content += piece
            if len(content) > most_bytes:
                raise _too_large(most_bytes)
    except ClientDisconnect:
        raise RefusalError(400, "incomplete_body", "the body broke off") from None
    try:
        document = from_json(bytes(content), allow_inf_nan=False)
    except ValueError as error:
        raise RefusalError(400, "invalid_json", f"the body is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise RefusalError(400, "invalid_json", "the body is JSON, but no object")
    return document


def to_ask(kind: Kind, body: JsonObject, settings: AgentsFile, tenant: str, session: str | None) -> Ask:
    """What is asked. Raises RefusalError with 400 or 404, naming the parameter."""
    route = _route(body.get("model"), settings)
    if kind == "chat":
        _check_messages(body.get("messages"))
    else:
        _check_prompt(body.get("prompt"))
    if not isinstance(body.get("stream", False), bool):
        raise _wrong("stream", "is true or false")
    for name in _COUNTS:
        value = body.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise _wrong(name, "is a whole number of at least 1")
    if (body.get("n") or 1) > _MOST_ANSWERS:
        raise _wrong("n", f"is at most {_MOST_ANSWERS}")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise _wrong("stream_options", "is an object")
    user = body.get("user")
    session = session or (user if isinstance(user, str) and user else None)
    if session is not None and len(session) > _LONGEST_SESSION:
        raise _wrong("user", f"has at most {_LONGEST_SESSION} characters")
    due = time.monotonic() + settings.routes[route].deadline_seconds
    return Ask(kind, body, route, tenant, session, due)


def _route(model: Any, settings: AgentsFile) -> str:
    if model is None:
        return settings.default_route
    if not isinstance(model, str):
        raise _wrong("model", "is the name of a route")
    if model not in settings.routes:
        known = ", ".join(sorted(settings.routes))
        raise RefusalError(
            404, "model_not_found", f"there is no route {model!r:.100}; there are: {known}", parameter="model"
        )
    return model


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages", "is a list with at least one message")
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict):
            raise _wrong(where, "is an object")
        if message.get("role") not in _ROLES:
            raise _wrong(f"{where}.role", f"is one of {', '.join(_ROLES)}")
        content = message.get("content")
        if content is None and message["role"] == "assistant":
            continue  # it called tools
        if isinstance(content, list):
            if not all(isinstance(part, dict) for part in content):
                raise _wrong(f"{where}.content", "is a list of objects")
        elif not isinstance(content, str):
            raise _wrong(f"{where}.content", "is a text or a list of parts")


def _check_prompt(prompt: Any) -> None:
    texts = prompt if isinstance(prompt, list) else [prompt]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise _wrong("prompt", "is a text or a list of texts")


def _wrong(parameter: str, rule: str) -> RefusalError:
    return RefusalError(400, "invalid_value", f"{parameter} {rule}", parameter=parameter)


def _too_large(most_bytes: int) -> RefusalError:
    return RefusalError(413, "body_too_large", f"the body is larger than the {most_bytes} bytes allowed")
