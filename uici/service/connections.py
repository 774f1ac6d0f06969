"""The bounds on connections, with refusals in the words of this API."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic_core import to_json

from uici.connections.bounding import BoundedProtocol
from uici.connections.bounding import bounded as bounded_with
from uici.model.errors import Problem, ProblemKind
from uici.model.settings import ConnectionSettings
from uici.service.problems import HEADERS, MEDIA_TYPE, RETRY_SECONDS, STATUS, problem_document


def bounded(limits: ConnectionSettings) -> type[BoundedProtocol]:
    """The protocol of one server, for `uvicorn.Config(http=…)`."""
    return bounded_with(limits, _refusal)


def _refusal(status: int, code: str, detail: str) -> tuple[bytes, Mapping[str, str]]:
    unavailable = status == STATUS[ProblemKind.UNAVAILABLE]
    problem = Problem(ProblemKind.UNAVAILABLE if unavailable else ProblemKind.INVALID, code, detail, where="connection")
    headers = {"content-type": MEDIA_TYPE, **HEADERS} | ({"retry-after": str(RETRY_SECONDS)} if unavailable else {})
    return to_json(problem_document(problem, status, "")), headers
