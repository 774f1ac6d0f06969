"""The HTTP side: find the operation, check the signature and the shapes, answer, and go wrong when ordered."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote

from starlette.requests import Request
from starlette.responses import Response

from executors.oci.simulator.cloud import Cloud
from executors.oci.simulator.connections import cut
from executors.oci.simulator.orders import Order
from executors.oci.simulator.refusals import (
    RefusedError,
    cannot_parse,
    internal,
    invalid_parameter,
    invalidated_retry_token,
    missing_parameter,
    not_found,
    throttled,
    unserved,
)
from executors.oci.simulator.sdk import SdkOperation, operation
from executors.oci.simulator.serving import HANDLERS, Answer, Call
from executors.oci.simulator.shapes import problems
from executors.oci.simulator.signatures import KeyFinder, SignedRequest, authenticate
from uici.model.base import JsonObject, digest

_log = logging.getLogger(__name__)
_GONE = {"DELETED", "TERMINATED"}
_PLAIN_BODIES = {"stream", "bytes"}


class Gateway:
    """Answers every request to the simulated services."""

    def __init__(self, cloud: Cloud, keys: KeyFinder, settle: Callable[[], Awaitable[None]]) -> None:
        self._cloud = cloud
        self._keys = keys
        self._settle = settle
        self._routes = _routes()
        self.answered: Counter[str] = Counter()
        """How often each operation was carried out and answered."""
        self.faults: list[str] = []
        """What was wrong with the simulator itself: answers that are not what the SDK's models say, exceptions. Each
        was answered with 500, so a test that meets one fails."""

    async def answer(self, request: Request) -> Response:
        """One request."""
        body = await request.body()
        request_id = f"{request.headers.get('opc-request-id') or secrets.token_hex(16).upper()}/{secrets.token_hex(8)}"
        served: Order | None = None
        try:
            found, values = self._find(request.method, request.scope["raw_path"].decode("ascii"))
            principal = self._authenticated(request, body)
            served = self._cloud.orders.take(found.name)
            await _trouble_before(served, request)
            call = _call(found, values, request, body, request_id, principal)
            await self._settle()
            response = self._answered(call)
        except RefusedError as refused:
            response = _refusal(refused)
        except Exception as error:  # the simulator's own fault: said aloud, never taken for Oracle's
            self.faults.append(f"{request.method} {request.url.path}: {error!r}")
            _log.exception("the simulator failed at %s %s", request.method, request.url.path)
            response = _refusal(internal(f"the simulator failed: {error!r}"))
        if served is not None and served.trouble == "drop_after":
            cut(request.scope)
        response.headers["opc-request-id"] = request_id
        response.headers["opc-simulator"] = "uici"
        return response

    def _find(self, method: str, path: str) -> tuple[SdkOperation, dict[str, str]]:
        for form, found in self._routes:
            match = form.fullmatch(path)
            if match and found.method == method:
                return found, {name: unquote(value) for name, value in match.groupdict().items()}
        raise unserved(method, path)

    def _authenticated(self, request: Request, body: bytes) -> str:
        query = request.scope["query_string"].decode("ascii")
        target = request.scope["raw_path"].decode("ascii") + (f"?{query}" if query else "")
        signed = SignedRequest(request.method, target, dict(request.headers), body)
        return authenticate(signed, self._keys, datetime.now(UTC))

    def _answered(self, call: Call) -> Response:
        with self._cloud.state.transaction():
            token = call.headers.get("opc-retry-token")
            kept = self._kept(call, token) if token else None
            answer = kept or self._handled(call)
            if token and kept is None:
                self._keep(call, token, answer)
        if call.operation.mutates and kept is None:
            self._cloud.changed()
        return _response(answer)

    def _handled(self, call: Call) -> Answer:
        answer = HANDLERS[call.operation.name](self._cloud, call)
        differences = _differences(call.operation, answer)
        if differences:
            message = f"the simulator's answer is not what the SDK expects of {call.operation.name}: {differences}"
            self.faults.append(message)
            _log.error(message)
            raise internal(message)
        self.answered[call.operation.name] += 1
        return answer

    def _kept(self, call: Call, token: str) -> Answer | None:
        kept = self._cloud.state.reply(_token(call, token))
        if kept is None:
            return None
        body, resource, answer = kept
        if body != _digest(call):
            raise invalidated_retry_token("with another request")
        if resource and self._is_gone(resource):
            raise invalidated_retry_token(f"what it created, {resource}, has been deleted")
        return Answer(**answer)

    def _is_gone(self, id: str) -> bool:
        found = self._cloud.state.any(id)
        return found is None or found.wire.get("lifecycleState") in _GONE

    def _keep(self, call: Call, token: str, answer: Answer) -> None:
        if isinstance(answer.body, bytes):
            return
        kept: JsonObject = {"body": answer.body, "status": answer.status, "headers": dict(answer.headers)}
        self._cloud.state.keep_reply(_token(call, token), _digest(call), answer.created, kept)


def _routes() -> list[tuple[re.Pattern[str], SdkOperation]]:
    """The path of every operation that has a handler, as a pattern."""
    routes: dict[tuple[str, str], tuple[re.Pattern[str], SdkOperation]] = {}
    for name in sorted(HANDLERS):
        found = operation(name)
        form = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", found.path)
        same = (found.method, re.sub(r"\{\w+\}", "{}", found.path))
        if same in routes:
            raise ValueError(f"{name} and {routes[same][1].name} are both {found.method} {found.path}")
        routes[same] = re.compile(form), found
    return list(routes.values())


async def _trouble_before(order: Order | None, request: Request) -> None:
    if order is None:
        return
    if order.trouble == "hang":
        await asyncio.sleep(order.seconds)
    if order.trouble in {"hang", "drop_before"}:
        cut(request.scope)
        raise internal()  # said to nobody
    if order.trouble == "throttle":
        raise throttled()
    if order.trouble == "fail":
        raise internal(order.message)
    if order.trouble == "deny":
        raise not_found("as the simulator was told")


def _call(
    found: SdkOperation, values: Mapping[str, str], request: Request, body: bytes, request_id: str, principal: str
) -> Call:
    query = parse_qs(request.scope["query_string"].decode("ascii"), keep_blank_values=True)
    for name in query:
        if name not in found.queries and name.split(".", 1)[0] not in found.queries:
            raise invalid_parameter(f"{found.name} has no query parameter {name}")
    for name in sorted(found.required_queries):
        if name not in query:
            raise missing_parameter(name)
    return Call(found, values, query, dict(request.headers), _parsed(found, body), request_id, principal)


def _parsed(found: SdkOperation, body: bytes) -> Any:
    if found.body is None or not body:
        return None
    if found.body in _PLAIN_BODIES:
        return body
    try:
        value = json.loads(body)
    except ValueError:
        raise cannot_parse("The body is not JSON") from None
    differences = problems(value, found.body, found.types)
    if differences:
        raise invalid_parameter("; ".join(differences))
    return value


def _differences(found: SdkOperation, answer: Answer) -> list[str]:
    if found.response is None:
        return [] if answer.body is None else [f"no body expected, {type(answer.body).__name__} found"]
    if found.response in _PLAIN_BODIES:
        return [] if isinstance(answer.body, bytes) else [f"bytes expected, {type(answer.body).__name__} found"]
    return problems(answer.body, found.response, found.types)


def _token(call: Call, token: str) -> str:
    return digest([call.principal, call.operation.name, token])


def _digest(call: Call) -> str:
    return digest([dict(call.path), dict(call.query), call.body])


def _response(answer: Answer) -> Response:
    headers = {name: value for name, value in answer.headers.items() if value}
    if isinstance(answer.body, bytes):
        return Response(answer.body, answer.status, headers, media_type="text/plain")
    if answer.body is None:
        return Response(None, answer.status, headers)
    return Response(json.dumps(answer.body), answer.status, headers, media_type="application/json")


def _refusal(refused: RefusedError) -> Response:
    body = json.dumps({"code": refused.code, "message": refused.message})
    return Response(body, refused.status, refused.headers, media_type="application/json")
