"""How a service answers: calls and answers, and the tables of what is served."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from executors.oci.simulator.refusals import invalid_parameter, no_etag_match
from executors.oci.simulator.sdk import SdkOperation
from executors.oci.simulator.shapes import projected
from executors.oci.simulator.state import Resource
from uici.model.base import JsonObject

if TYPE_CHECKING:
    from executors.oci.simulator.cloud import Cloud

DEFAULT_PAGE = 100
MAX_PAGE = 1000


@dataclass(frozen=True)
class Call:
    """One authenticated request for one operation; its body has the operation's shape."""

    operation: SdkOperation
    path: Mapping[str, str]
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """Lower-case names."""
    body: Any
    request_id: str
    principal: str
    """The key id that signed."""

    def asked(self, name: str) -> str | None:
        """A query parameter's first value."""
        values = self.query.get(name)
        return values[0] if values else None

    def whole(self, name: str, default: int) -> int:
        """A query parameter that is a whole number."""
        text = self.asked(name)
        if text is None:
            return default
        if not text.isdigit():
            raise invalid_parameter(f"{name} must be a whole number, not {text!r}")
        return int(text)

    def must_match(self, resource: Resource) -> None:
        """412 when the request says `if-match` and the resource has changed since."""
        wanted = self.headers.get("if-match")
        if wanted is not None and wanted != resource.etag:
            raise no_etag_match()


@dataclass(frozen=True)
class Answer:
    """What is sent back. A body of bytes is sent as it is."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    """The OCID of what the call created, for its retry token."""


Handler: TypeAlias = "Callable[[Cloud, Call], Answer]"
Step: TypeAlias = "Callable[[Cloud, str, JsonObject], None]"

HANDLERS: dict[str, Handler] = {}
"""`service.Client.method` of the SDK -> what answers it."""
STEPS: dict[str, Step] = {}
"""What a timer may do to a resource."""


def serves(*names: str) -> Callable[[Handler], Handler]:
    """Let a function answer the operations that the SDK calls so."""

    def register(handler: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = handler
        return handler

    return register


def step(name: str) -> Callable[[Step], Step]:
    """Let a function be what happens when a timer of this name is due."""

    def register(handler: Step) -> Step:
        STEPS[name] = handler
        return handler

    return register


def shown(resource: Resource) -> Answer:
    """A resource with its etag."""
    return Answer(body=resource.wire, headers={"etag": resource.etag})


def listed(call: Call, resources: Sequence[Resource], *filters: str) -> Answer:
    """One page of the resources that the query's filters leave: `displayName` keeps those whose displayName is that.

    The page token and the header that carries it: https://docs.oracle.com/en-us/iaas/Content/API/Concepts/usingapi.htm
    """
    for name in filters:
        wanted = call.asked(name)
        if wanted is not None:
            resources = [resource for resource in resources if str(resource.wire.get(name)) == wanted]
    return page(call, [resource.wire for resource in _sorted(call, resources)])


def _sorted(call: Call, resources: Sequence[Resource]) -> Sequence[Resource]:
    """As asked; the newest first where nothing is asked, and by name from A to Z."""
    if "sortBy" not in call.operation.queries:
        return resources
    by_name = (call.asked("sortBy") or "").lower() in {"displayname", "name"}
    field = "displayName" if by_name else "timeCreated"
    ordered = sorted(resources, key=lambda resource: str(resource.wire.get(field)))
    descending = (call.asked("sortOrder") or ("ASC" if by_name else "DESC")).upper() == "DESC"
    return ordered[::-1] if descending else ordered


def page(call: Call, items: Sequence[Any]) -> Answer:
    """One page of a list, in the shape that the operation answers with: a list, or an object with `items`."""
    part = paged(call, items)
    kind = str(call.operation.response)
    body: Any = part.body if kind.startswith("list[") else {"items": part.body}
    return Answer(body=projected(body, kind, call.operation.types), headers=part.headers)


def paged(call: Call, items: Sequence[Any]) -> Answer:
    """One page of a list as it is, with the token of the next one."""
    start = _start(call.asked("page"))
    limit = call.whole("limit", DEFAULT_PAGE)
    if not 1 <= limit <= MAX_PAGE:
        raise invalid_parameter(f"limit must be from 1 to {MAX_PAGE}, not {limit}")
    headers = {}
    if start + limit < len(items):
        headers["opc-next-page"] = base64.urlsafe_b64encode(json.dumps([start + limit]).encode()).decode()
    return Answer(body=list(items[start : start + limit]), headers=headers)


def _start(token: str | None) -> int:
    if token is None:
        return 0
    try:
        return int(json.loads(base64.urlsafe_b64decode(token))[0])
    except (binascii.Error, ValueError, TypeError, IndexError):
        raise invalid_parameter(f"page is not a token of an earlier answer: {token!r}") from None
