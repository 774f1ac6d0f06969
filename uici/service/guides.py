"""Routes of the guides."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query

from uici.catalogue.markdown import html_of
from uici.model.base import JsonObject
from uici.service.auth import MayView
from uici.service.context import Shared
from uici.service.openapi import TOKEN, json_answer, problems

router = APIRouter(prefix="/api/v1")

_LISTED: Final[JsonObject] = {
    "name": "disk-full",
    "title": "A disk is full, or soon will be",
    "alerts": [],
    "findings": ["disk_full"],
    "strategies": ["disk_filling"],
    "targets": [],
    "tags": ["disk"],
}
_WHOLE: Final[JsonObject] = {**_LISTED, "markdown": "# See what fills it\n", "html": "<h1>See what fills it</h1>\n"}


@router.get(
    "/guides",
    tags=["catalogue"],
    summary="All guides, or those with some words",
    responses=json_answer(200, "By name, or the best first.", {"guides": [_LISTED]}) | problems(422),
    openapi_extra=TOKEN,
)
def list_guides(
    caller: MayView,
    context: Shared,
    q: Annotated[str | None, Query(max_length=200, description="only those with all these words")] = None,
) -> JsonObject:
    """What people wrote down for people, without the texts."""
    return {"guides": context.control.guides.listed(q, caller.scope)}


@router.get(
    "/guides/{name}",
    tags=["catalogue"],
    summary="One guide",
    responses=json_answer(200, "The guide.", _WHOLE) | problems(404),
    openapi_extra=TOKEN,
)
def get_guide(name: str, caller: MayView, context: Shared) -> JsonObject:
    """One guide as Markdown, and as HTML in which nothing acts: no scripts, no images, no other schemes than http(s)
    and mailto.
    """
    document = context.control.guides.one(name, caller.scope)
    return {**document, "html": html_of(document["markdown"])}
