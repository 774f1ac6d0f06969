"""HTTP to a server that UICI asks: credentials by reference, answers bounded in size and time, and failures that say
what to do.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from urllib.parse import urlsplit

import httpx

from uici.access.secrets import resolve
from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.call import CallError, FailureKind
from uici.model.errors import Problem
from uici.model.servers import MonitoringServer

_LONGEST_ERROR = 500


class Answer(Frozen):
    """A 2xx answer."""

    document: JsonValue
    at: datetime
    """The server's own time, from its `Date`; ours where it sends none."""


class MonitoringHttp:
    """One server. Each request opens its own connection: questions are rare, and servers restart."""

    def __init__(self, settings: MonitoringServer, what: str, file: str = "environments.yml") -> None:
        """`what` names the server in errors, `file` is where its settings stand. Secrets are resolved at each request,
        so a rotated one is used at once.
        """
        self._settings = settings
        self._what = what
        self._file = file
        self._base = settings.url.rstrip("/")
        parts = urlsplit(settings.url)
        self._where = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")

    def get(self, path: str, parameters: Mapping[str, str | list[str]] | None = None) -> Answer:
        """Ask. Raises CallError: TEMPORARY when asking again may help, PERMANENT when it will not."""
        return self._request("GET", path, parameters=parameters)

    def ask(self, path: str, body: JsonObject, within: float | None = None) -> Answer:
        """Ask with a document, changing nothing; raises as `get`. `within` seconds at the most, where that is less."""
        return self._request("POST", path, body=body, within=within)

    def change(self, method: str, path: str, body: JsonObject | None = None) -> Answer:
        """Send a change. As `get`, but UNKNOWN where it may have been carried out although no good answer came."""
        return self._request(method, path, body=body, mutates=True)

    def _request(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str | list[str]] | None = None,
        body: JsonObject | None = None,
        mutates: bool = False,
        within: float | None = None,
    ) -> Answer:
        lost = FailureKind.UNKNOWN if mutates else FailureKind.TEMPORARY
        seconds = self._settings.timeout if within is None else min(self._settings.timeout, within)
        headers, basic = self._headers(), self._basic()

        async def answer() -> tuple[httpx.Response, bytes]:
            # The whole of it: a server that sends a byte now and then would stretch the limits of each step.
            async with (
                asyncio.timeout(seconds),
                httpx.AsyncClient(
                    timeout=seconds, trust_env=False, verify=system_trust(), follow_redirects=False
                ) as client,
                client.stream(
                    method, self._base + path, params=parameters, json=body, headers=headers, auth=basic
                ) as response,
            ):
                return response, await self._bounded(response, lost)

        try:
            response, text = asyncio.run(answer())
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise self._unreachable(FailureKind.TEMPORARY, error, seconds) from None
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise CallError(FailureKind.PERMANENT, "bad_url", f"{self._what} at {self._where}: {error}") from None
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._unreachable(lost, error, seconds) from None
        if not response.is_success:
            raise self._refused(response.status_code, text, lost)
        return Answer(document=self._parsed(text, lost), at=_date(response.headers.get("date")))

    async def _bounded(self, response: httpx.Response, lost: FailureKind) -> bytes:
        limit = self._settings.max_answer_bytes
        pieces: list[bytes] = []
        size = 0
        async for piece in response.aiter_bytes():
            size += len(piece)
            if size > limit:
                raise CallError(
                    lost if lost is FailureKind.UNKNOWN else FailureKind.PERMANENT,
                    "answer_too_large",
                    f"{self._what} at {self._where} answered more than {limit} bytes; ask for less "
                    f"(sum, topk), or raise max_answer_bytes in {self._file}",
                )
            pieces.append(piece)
        return b"".join(pieces)

    def _parsed(self, text: bytes, lost: FailureKind) -> JsonValue:
        if not text.strip():
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise CallError(
                lost if lost is FailureKind.UNKNOWN else FailureKind.PERMANENT,
                "not_json",
                f"{self._what} at {self._where} answered something that is not JSON: is the URL in {self._file} "
                "right, and is there no login page before it?",
            ) from None

    def _refused(self, status: int, text: bytes, lost: FailureKind) -> CallError:
        said = _error_text(text)
        detail = f"{self._what} at {self._where} answered {status}" + (f": {said}" if said else "")
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            hint = f"; give bearer_token or basic in {self._file}, by reference"
            return CallError(FailureKind.PERMANENT, "not_authorized", detail + hint)
        if status == httpx.codes.NOT_FOUND:
            return CallError(FailureKind.PERMANENT, "not_found", detail)
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return CallError(FailureKind.TEMPORARY, "overloaded", detail)
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return CallError(lost, "server_error", detail)
        return CallError(FailureKind.PERMANENT, "refused", detail)

    def _unreachable(self, kind: FailureKind, error: Exception, seconds: float) -> CallError:
        # httpx's own text may hold the URL with its parameters.
        return CallError(
            kind,
            "unreachable",
            f"{self._what} at {self._where} could not be asked: {type(error).__name__} within "
            f"{seconds:g} s; is it up, and is the URL in {self._file} right?",
        )

    def _headers(self) -> dict[str, str]:
        if self._settings.bearer_token is None:
            return {}
        return {"Authorization": f"Bearer {self._secret(self._settings.bearer_token)}"}

    def _basic(self) -> tuple[str, str] | None:
        basic = self._settings.basic
        return None if basic is None else (basic.username, self._secret(basic.password))

    def _secret(self, reference: str) -> str:
        try:
            return resolve(reference, where=f"{self._file}: {self._what}").reveal()
        except Problem as problem:
            raise CallError(FailureKind.PERMANENT, problem.code, f"{self._what}: {problem.detail}") from None


def _error_text(text: bytes) -> str:
    """What the server itself says was wrong: `error` of Prometheus and of the OpenAI API, Alertmanager's bare text."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if isinstance(document, dict):
        document = document.get("error") or document.get("message") or ""
        if isinstance(document, dict):
            document = document.get("message") or ""
    said = document if isinstance(document, str) else ""
    return said if len(said) <= _LONGEST_ERROR else said[: _LONGEST_ERROR - 1] + "…"


def _date(header: str | None) -> datetime:
    try:
        return parsedate_to_datetime(header or "").astimezone(UTC)
    except ValueError:
        return datetime.now(UTC)


@cache
def system_trust() -> ssl.SSLContext:
    """TLS that trusts the system's certificates; kept, because reading them takes longer than a request."""
    return ssl.create_default_context()
