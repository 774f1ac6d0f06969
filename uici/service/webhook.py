"""The door for Alertmanager: `POST /webhooks/alertmanager`.

What the answer means: 202, every alert of the body is committed; 400 and 413, the body is unusable and sending
it again would not help; 503, nothing is committed and Alertmanager tries again. What becomes of an alert later
never changes the answer.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import structlog
from anyio import to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from pydantic_core import to_json
from starlette.types import ASGIApp, Receive, Scope, Send

from uici.access.roles import Permission
from uici.intake.payload import parse_notification
from uici.intake.writer import Accepted
from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind
from uici.service.auth import requires
from uici.service.body import BodyTooLargeError, declared_size, let_it_finish, parsed, read_body
from uici.service.callers import Caller
from uici.service.context import Context
from uici.service.openapi import ACCEPTED, NOTIFICATION, json_answer, json_request, problems, security
from uici.service.problems import WEBHOOK_PATH, answer_to

_JSON = "application/json"
_log = structlog.get_logger(__name__)


router = APIRouter(tags=["webhooks"])
_reporter = requires(Permission.WEBHOOK)


@router.post(
    WEBHOOK_PATH,
    status_code=202,
    summary="Report alerts, as Alertmanager's webhook_config does (version 4)",
    responses=json_answer(202, "Committed; the incidents that the alerts touched.", ACCEPTED) | problems(400, 413, 503),
    openapi_extra=json_request({"type": "object"}, NOTIFICATION)
    | security("bearer", "basic", "signature", "certificate"),
)
async def report_alerts(request: Request) -> Response:
    """Commit the alerts of one notification and name the incidents they belong to."""
    context: Context = request.app.state.context
    try:
        caller = await _reporter(request, context)
    except BodyTooLargeError as error:
        raise error.problem() from None
    size = declared_size(request)
    refusal = context.admission.refusal(size)
    if refusal is not None:
        if not hasattr(request.state, "body"):
            await let_it_finish(request.stream(), context.service.max_body_bytes)
        raise refusal
    with context.admission.holding(size):
        return await _taken(request, context, caller)


def door(app: FastAPI) -> ASGIApp:
    """What answers the requests that `is_report` finds, beside the framework's layers and its search for a route, which
    cost the event loop three times what all that is done with one alert does.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        scope.update(app=app, route=router.routes[0])
        request = Request(scope, receive, send)
        try:
            response = await report_alerts(request)
        except Exception as error:
            response, known = await answer_to(app, request, error)
            await response(scope, receive, send)
            if not known:
                raise  # the server logs its traceback
            return
        await response(scope, receive, send)

    return answer


def is_report(scope: Scope) -> bool:
    """Whether a request hands in alerts."""
    return bool(scope["type"] == "http" and scope["path"] == WEBHOOK_PATH and scope["method"] == "POST")


async def _taken(request: Request, context: Context, caller: Caller) -> Response:
    control = context.control
    try:
        # Of a signed request it was read before, to check the signature.
        body = getattr(request.state, "body", None)
        body = body if body is not None else await read_body(request, context.service.max_body_bytes)
    except BodyTooLargeError as error:
        # People are told, because Alertmanager will not send these alerts again.
        await to_thread.run_sync(control.refusals.oversized, caller.actor, error.size, limiter=context.webhook_threads)
        raise error.problem() from None
    depth = context.service.max_json_depth
    try:
        notification = await parsed(
            lambda content: parse_notification(content, max_depth=depth), body, context.webhook_threads
        )
    except Problem as problem:
        await to_thread.run_sync(control.refusals.malformed, caller.actor, problem, limiter=context.webhook_threads)
        raise
    accepted = await _committed(control.submit(notification, caller.actor, caller.scope), context)
    return Response(to_json(_answer(accepted)), status_code=202, media_type=_JSON)


async def _committed(future: Future[Accepted], context: Context) -> Accepted:
    answer = context.arrivals.of(future)
    seconds = context.intake.commit_seconds
    try:
        # The commit is not cancelled with the wait: it may be under way, and Alertmanager's repetition finds it then.
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError:
        future.add_done_callback(_note_late)
    raise Problem(
        ProblemKind.UNAVAILABLE,
        "commit_timed_out",
        f"the alerts were not committed within {seconds:g} seconds",
        where="state",
        hint="send them again; /readyz says what is wrong",
    )


def _note_late(answer: Future[Accepted]) -> None:
    failed = answer.cancelled() or answer.exception() is not None
    _log.warning("late_commit", outcome="failed" if failed else "committed")


def _answer(accepted: Accepted) -> JsonObject:
    return {
        "received": accepted.received,
        "new": accepted.new,
        "truncated": accepted.truncated,
        "refused": accepted.refused,
        "incidents": [
            {
                "id": incident.id,
                "environment": incident.environment,
                "target": incident.target,
                "state": incident.state,
                "outcome": incident.outcome,
            }
            for incident in accepted.incidents
        ],
    }
