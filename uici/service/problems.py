"""Every error as `application/problem+json` (RFC 9457), including those that the framework raises by itself."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from uici.audit.denials import Denial
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind, did_you_mean
from uici.model.masking import mask

MEDIA_TYPE = "application/problem+json"
WEBHOOK_PATH = "/webhooks/alertmanager"
RETRY_SECONDS = 1
"""What `Retry-After` says: overload passes quickly, and Alertmanager has a backoff of its own."""

HEADERS: Mapping[str, str] = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}
"""On every answer: what keeps browsers from guessing, storing, framing or embedding it."""

STATUS: Mapping[ProblemKind, int] = {
    ProblemKind.INVALID: 400,
    ProblemKind.UNAUTHENTICATED: 401,
    ProblemKind.FORBIDDEN: 403,
    ProblemKind.NOT_FOUND: 404,
    ProblemKind.CONFLICT: 409,
    ProblemKind.TOO_LARGE: 413,
    ProblemKind.UNPROCESSABLE: 422,
    ProblemKind.TOO_MANY: 429,
    ProblemKind.UNAVAILABLE: 503,
}

_TURNED_AWAY: Mapping[ProblemKind, str] = {
    ProblemKind.UNAUTHENTICATED: "authentication_failed",
    ProblemKind.FORBIDDEN: "permission_denied",
    ProblemKind.TOO_MANY: "rate_limited",
}
_log = structlog.get_logger(__name__)


def problem_document(problem: Problem, status: int, instance: str) -> JsonObject:
    """The body of a problem response, masked: a platform's own words may be in it. Members without content are left
    out.
    """
    document: JsonObject = {
        "type": f"urn:uici:problem:{problem.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": problem.detail,
        "instance": instance,
        "code": problem.code,
    }
    optional = {
        "where": problem.where,
        "allowed": list(problem.allowed),
        "hint": problem.hint,
        "errors": list(problem.errors),
    }
    shown: JsonObject = mask(document | {name: value for name, value in optional.items() if value})
    return shown


def problem_response(
    request: Request, problem: Problem, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The response for `problem`, with the headers that its status asks for."""
    status = status or STATUS[problem.kind]
    # A path may hold what is no text at all; it is only echoed.
    instance = request.url.path.encode(errors="replace").decode()
    response = JSONResponse(
        problem_document(problem, status, instance), status_code=status, media_type=MEDIA_TYPE, headers=headers
    )
    # Here too: the answer to a defect is given outside of what adds them to all others.
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if status == HTTPStatus.UNAUTHORIZED:
        error = ', error="invalid_token"' if problem.code == "invalid_token" else ""
        response.headers.append("WWW-Authenticate", f'Bearer realm="uici"{error}')
        if request.url.path == WEBHOOK_PATH:
            response.headers.append("WWW-Authenticate", 'Basic realm="uici", charset="UTF-8"')
    elif status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        response.headers.setdefault("Retry-After", str(problem.retry_seconds or RETRY_SECONDS))
    elif status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # The rest of the body was not read, so the connection cannot carry another request.
        response.headers["Connection"] = "close"
    return response


def install(app: FastAPI) -> None:
    """Register the handlers."""

    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> JSONResponse:
        if problem.kind in _TURNED_AWAY:
            _turned_away(request, problem)
        return problem_response(request, problem)

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return _method_not_allowed(app, request)
        if error.status_code == HTTPStatus.NOT_FOUND:
            paths = sorted(app.openapi()["paths"])
            problem = Problem(
                ProblemKind.NOT_FOUND,
                "no_such_path",
                f"there is nothing at {request.url.path!r}{did_you_mean(request.url.path, paths)}",
                where="path",
                hint="GET /openapi.json describes all paths",
            )
            return problem_response(request, problem)
        kind = ProblemKind.UNAVAILABLE if error.status_code >= 500 else ProblemKind.INVALID
        problem = Problem(kind, "http_error", str(error.detail))
        return problem_response(request, problem, status=error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem_response(request, parameters_problem(error))

    @app.exception_handler(OperationalError)
    @app.exception_handler(PoolTimeoutError)
    async def on_state_failure(request: Request, error: Exception) -> JSONResponse:
        _log.error("state_unavailable", path=request.url.path, error=type(error).__name__)
        problem = Problem(
            ProblemKind.UNAVAILABLE,
            "state_unavailable",
            "the state database did not answer; nothing was changed",
            hint="try again; /readyz says what is wrong",
        )
        return problem_response(request, problem)

    @app.exception_handler(Exception)
    async def on_defect(request: Request, error: Exception) -> JSONResponse:
        # The framework raises the exception again after this answer, so the server logs its traceback.
        reference = uuid.uuid4().hex
        _log.error("request_failed", path=request.url.path, method=request.method, reference=reference)
        problem = Problem(
            ProblemKind.UNAVAILABLE,
            "internal_error",
            f"uici failed in an unforeseen way; the log has it under {reference}",
            hint="this is a defect: please report it with the log's traceback",
        )
        return problem_response(request, problem, status=500)


async def answer_to(app: FastAPI, request: Request, error: Exception) -> tuple[Response, bool]:
    """What the handlers of `install` answer to an error, and whether it is of a kind that is foreseen."""
    kind = next(kind for kind in type(error).__mro__ if kind in app.exception_handlers)
    response: Response = await app.exception_handlers[kind](request, error)  # type: ignore[misc]  # all are coroutines
    return response, kind is not Exception


def _turned_away(request: Request, problem: Problem) -> None:
    """For the audit log. The route as it is declared: the path itself is the sender's text."""
    denial = Denial(
        kind=_TURNED_AWAY[problem.kind],
        actor=getattr(request.state, "actor", "unknown"),
        client=request.client.host if request.client else "",
        route=f"{request.method} {getattr(request.scope.get('route'), 'path', '')}",
        code=problem.code,
    )
    request.app.state.context.control.denials.note(denial)


def parameters_problem(error: RequestValidationError) -> Problem:
    """Query and path parameters that were refused, all at once."""
    errors = tuple(
        {"where": ".".join(str(part) for part in each["loc"]), "detail": each["msg"]} for each in error.errors()
    )
    first = errors[0]
    return Problem(
        ProblemKind.UNPROCESSABLE, "invalid_parameter", f"{first['where']}: {first['detail']}",
        where=str(first["where"]), errors=errors,
    )  # fmt: skip


def _method_not_allowed(app: FastAPI, request: Request) -> JSONResponse:
    # `/runs/x:approve` is not the run of that name.
    methods = _methods_at(app, request.url.path, "[^/:]+") or _methods_at(app, request.url.path, "[^/]+")
    problem = Problem(
        ProblemKind.INVALID,
        "method_not_allowed",
        f"{request.method} is not possible here",
        where="method",
        allowed=sorted(methods),
    )
    return problem_response(request, problem, status=405, headers={"Allow": ", ".join(sorted(methods))})


def _methods_at(app: FastAPI, path: str, parameter: str) -> set[str]:
    return {
        method.upper()
        for template, operations in app.openapi()["paths"].items()
        if re.fullmatch(re.sub(r"\\{\w+\\}", parameter, re.escape(template)), path)
        for method in operations
    }
