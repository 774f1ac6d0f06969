"""Routes that only read: what UICI knows, what is wrong, what was done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from os import SEEK_END
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.background import BackgroundTask

from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind
from uici.model.scope import EVERYTHING, Scope
from uici.runs.bundle import file_name
from uici.service.auth import MayView, MayViewAll
from uici.service.context import Context, Shared
from uici.service.openapi import INCIDENT, TOKEN, Responses, json_answer, problems
from uici.service.stream import cloud_event, server_sent

router = APIRouter(prefix="/api/v1")

_MOST_EVENTS = 5000
_HIGHEST_SEQ = 2**63 - 1

Limit = Annotated[int, Query(ge=1, le=500, description="at most so many")]
Before = Annotated[str | None, Query(max_length=100, description="`next` of the page before")]
State = Annotated[str | None, Query(max_length=40, description="only those in this state")]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", description="resume after this event")]
After = Annotated[int | None, Query(ge=0, le=_HIGHEST_SEQ, description="only events later than this one")]
Follow = Annotated[bool, Query(description="stay connected after the run has ended")]

_CHUNK_BYTES = 65_536
_ZIP: Responses = {
    200: {
        "description": "The zip file.",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_STREAM: Responses = {
    200: {
        "description": "Server-sent events, each a CloudEvent 1.0; one document for `Accept: application/json`.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 7\nevent: run_started\ndata: {"specversion":"1.0","id":"7"}\n\n',
            },
            "application/json": {"example": {"events": [{"specversion": "1.0", "id": "7"}]}},
        },
    },
    204: {"description": "The run has ended and all its events were read: do not connect again."},
}


@router.get("/operations", tags=["catalogue"], summary="All operations", responses=problems(), openapi_extra=TOKEN)
def list_operations(caller: MayView, context: Shared) -> JsonObject:
    """The universal verbs with their parameters, risk and platforms."""
    return {"operations": context.control.operations()}


@router.get(
    "/operations/{name}", tags=["catalogue"], summary="One operation", responses=problems(404), openapi_extra=TOKEN
)
def get_operation(name: str, caller: MayView, context: Shared) -> JsonObject:
    """One verb with its JSON Schema."""
    return context.control.operation(name)


@router.get("/targets", tags=["catalogue"], summary="All targets", responses=problems(), openapi_extra=TOKEN)
def list_targets(caller: MayView, context: Shared) -> JsonObject:
    """The managed services."""
    return {"targets": context.control.targets(caller.scope)}


@router.get(
    "/targets/{name}",
    tags=["catalogue"],
    summary="One target, as it stands now in each environment",
    responses=problems(404),
    openapi_extra=TOKEN,
)
def get_target(name: str, caller: MayView, context: Shared) -> JsonObject:
    """Asks the platforms; where one does not answer it is `unknown`, with the reason. `seen_in`: the first that did."""
    return context.control.target(name, caller.scope)


@router.get(
    "/fleet",
    tags=["catalogue"],
    summary="All targets, as they stand now in each environment",
    responses=problems(422),
    openapi_extra=TOKEN,
)
def get_fleet(
    caller: MayView,
    context: Shared,
    environment: Annotated[str | None, Query(max_length=100, description="only this one")] = None,
) -> JsonObject:
    """Asks all platforms at once; one that does not answer in time costs only its own targets their answer."""
    return context.control.fleet(environment, caller.scope)


@router.get(
    "/workers", tags=["system"], summary="The processes that share the state", responses=problems(), openapi_extra=TOKEN
)
def list_workers(caller: MayViewAll, context: Shared) -> JsonObject:
    """Who is at work, since when, and which runs each holds now."""
    return {"workers": context.control.workers()}


@router.get("/environments", tags=["catalogue"], summary="All environments", responses=problems(), openapi_extra=TOKEN)
def list_environments(caller: MayView, context: Shared) -> JsonObject:
    """The places where targets live."""
    return {"environments": context.control.environments(caller.scope)}


@router.get(
    "/incidents",
    tags=["incidents"],
    summary="Incidents, newest first",
    responses=json_answer(200, "One page.", {"incidents": [INCIDENT], "next": None}) | problems(422),
    openapi_extra=TOKEN,
)
def list_incidents(
    caller: MayView, context: Shared, state: State = None, limit: Limit = 50, before: Before = None
) -> JsonObject:
    """One page of incidents; `next`, when there is more, is the `before` of the following page."""
    found = context.control.incidents(state, limit, before, caller.scope)
    return {"incidents": found, "next": found[-1]["id"] if len(found) == limit else None}


@router.get(
    "/incidents/{incident_id}/bundle",
    tags=["incidents"],
    summary="Everything known of one incident, as a zip file",
    responses=_ZIP | problems(404),
    openapi_extra=TOKEN,
    response_class=StreamingResponse,
)
def get_bundle(incident_id: str, caller: MayView, context: Shared) -> StreamingResponse:
    """For people who have no access to UICI: a README, alerts, timeline, findings, plans, calls, messages, results.

    Secrets are masked. The same state gives the same bytes.
    """
    caller.at_incident(context.control, incident_id)
    file = context.control.bundle(incident_id)
    size = file.seek(0, SEEK_END)
    file.seek(0)
    headers = {
        "Content-Disposition": f'attachment; filename="{file_name(incident_id)}"',
        "Content-Length": str(size),
    }
    chunks = iter(partial(file.read, _CHUNK_BYTES), b"")
    return StreamingResponse(
        chunks, media_type="application/zip", headers=headers, background=BackgroundTask(file.close)
    )


@router.get(
    "/incidents/{incident_id}", tags=["incidents"], summary="One incident", responses=problems(404), openapi_extra=TOKEN
)
def get_incident(incident_id: str, caller: MayView, context: Shared) -> JsonObject:
    """One incident with its alerts, findings, guides, runs and timeline."""
    return caller.shown(context.control.incident(incident_id))


@router.get("/runs", tags=["runs"], summary="Runs, newest first", responses=problems(422), openapi_extra=TOKEN)
def list_runs(
    caller: MayView, context: Shared, state: State = None, limit: Limit = 50, before: Before = None
) -> JsonObject:
    """One page of runs; `next`, when there is more, is the `before` of the following page."""
    found = context.control.runs(state, limit, before, caller.scope)
    return {"runs": found, "next": found[-1]["id"] if len(found) == limit else None}


@router.get("/runs/{run_id}", tags=["runs"], summary="One run", responses=problems(404), openapi_extra=TOKEN)
def get_run(run_id: str, caller: MayView, context: Shared) -> JsonObject:
    """One run with its plan, its decisions and what it waits for."""
    return caller.shown(context.control.run(run_id))


@router.get(
    "/runs/{run_id}/events",
    tags=["runs"],
    summary="What happens in a run, as it happens",
    responses=_STREAM | problems(400, 404),
    openapi_extra=TOKEN,
    response_class=StreamingResponse,
)
async def follow_run(
    request: Request,
    run_id: str,
    caller: MayView,
    context: Shared,
    follow: Follow = False,
    after: After = None,
    last_event_id: LastEventId = None,
) -> Response:
    """The run's events from the beginning, or after `Last-Event-ID`; ends when the run has ended."""
    control = context.control
    position = _position(after, last_event_id)
    caller.at(await to_thread.run_sync(lambda: control.place_of(run=run_id)))

    def ended() -> bool:
        return bool(control.run(run_id)["state"] == "ended")

    if _wants_json(request):
        return await _document(context, EVERYTHING, run_id, position)
    if position and not follow and await to_thread.run_sync(ended):
        if not await to_thread.run_sync(lambda: control.events(run=run_id, incident=None, after=position, limit=1)):
            # EventSource reconnects for ever otherwise; this status is its sign to stop.
            return Response(status_code=204)
    context.follower.raise_if_full()
    events = context.follower.events(
        run=run_id, incident=None, after=position, ended=None if follow else ended, caller=caller
    )
    return _stream(server_sent(events, position))


@router.get(
    "/events",
    tags=["incidents"],
    summary="Everything that happens",
    responses=_STREAM | problems(400),
    openapi_extra=TOKEN,
    response_class=StreamingResponse,
)
async def follow_all(
    request: Request,
    caller: MayView,
    context: Shared,
    incident: Annotated[str | None, Query(max_length=100, description="only events of this incident")] = None,
    after: After = None,
    tail: Annotated[
        int | None, Query(ge=0, le=_MOST_EVENTS, description="begin with so many of the newest events")
    ] = None,
    last_event_id: LastEventId = None,
) -> Response:
    """All events within the caller's scope after `Last-Event-ID`, or from the beginning; never ends."""
    position = _position(after, last_event_id)
    if incident is not None:
        await to_thread.run_sync(caller.at_incident, context.control, incident)
    if tail is not None and not position:
        position = await to_thread.run_sync(context.control.latest_event, tail)
    if _wants_json(request):
        scope = EVERYTHING if incident is not None else caller.scope
        return await _document(context, scope, None, position, incident)
    context.follower.raise_if_full()
    events = context.follower.events(run=None, incident=incident, after=position, ended=None, caller=caller)
    return _stream(server_sent(events, position))


async def _document(
    context: Context, scope: Scope, run: str | None, after: int, incident: str | None = None
) -> JSONResponse:
    events = await to_thread.run_sync(
        lambda: context.control.events(run=run, incident=incident, after=after, limit=_MOST_EVENTS, scope=scope)
    )
    return JSONResponse({"events": [cloud_event(event) for event in events]})


def _stream(text: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(text, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _wants_json(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/event-stream" not in accept


def _position(after: int | None, last_event_id: str | None) -> int:
    # The header wins: a reader that reconnects repeats its first URL, but has read further since.
    if not last_event_id:
        return after or 0
    if last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19:
        return int(last_event_id)
    raise Problem(
        ProblemKind.INVALID,
        "invalid_last_event_id",
        "Last-Event-ID is not the id of an event",
        where="header Last-Event-ID",
        hint="send the `id` of the last event that was read, or leave it out",
    )
