"""HTTP to a monitoring server: credentials by reference, bounded answers, and failures that say what to do."""

from __future__ import annotations

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
    """One monitoring server. Each request opens its own connection: questions are rare, and servers restart."""

    def __init__(self, settings: MonitoringServer, what: str) -> None:
        """`what` names the server in errors. Secrets are resolved at each request, so a rotated one is used at once."""
        self._settings = settings
        self._what = what
        self._base = settings.url.rstrip("/")
        parts = urlsplit(settings.url)
        self._where = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")

    def get(self, path: str, parameters: Mapping[str, str | list[str]] | None = None) -> Answer:
        """Ask. Raises CallError: TEMPORARY when asking again may help, PERMANENT when it will not."""
        return self._request("GET", path, parameters=parameters)

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
    ) -> Answer:
        lost = FailureKind.UNKNOWN if mutates else FailureKind.TEMPORARY
        try:
            with (
                httpx.Client(
                    timeout=self._settings.timeout, trust_env=False, verify=system_trust(), follow_redirects=False
                ) as client,
                client.stream(
                    method, self._base + path, params=parameters, json=body, headers=self._headers(), auth=self._basic()
                ) as response,
            ):
                text = self._bounded(response, lost)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise self._unreachable(FailureKind.TEMPORARY, error) from None
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise CallError(FailureKind.PERMANENT, "bad_url", f"{self._what} at {self._where}: {error}") from None
        except httpx.HTTPError as error:
            raise self._unreachable(lost, error) from None
        if not response.is_success:
            raise self._refused(response.status_code, text, lost)
        return Answer(document=self._parsed(text, lost), at=_date(response.headers.get("date")))

    def _bounded(self, response: httpx.Response, lost: FailureKind) -> bytes:
        limit = self._settings.max_answer_bytes
        pieces: list[bytes] = []
        size = 0
        for piece in response.iter_bytes():
            size += len(piece)
            if size > limit:
                raise CallError(
                    lost if lost is FailureKind.UNKNOWN else FailureKind.PERMANENT,
                    "answer_too_large",
                    f"{self._what} at {self._where} answered more than {limit} bytes; ask for less "
                    "(sum, topk), or raise max_answer_bytes in environments.yml",
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
                f"{self._what} at {self._where} answered something that is not JSON: is the URL in environments.yml "
                "right, and is there no login page before it?",
            ) from None

    def _refused(self, status: int, text: bytes, lost: FailureKind) -> CallError:
        said = _error_text(text)
        detail = f"{self._what} at {self._where} answered {status}" + (f": {said}" if said else "")
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            hint = "; give bearer_token or basic in environments.yml, by reference"
            return CallError(FailureKind.PERMANENT, "not_authorized", detail + hint)
        if status == httpx.codes.NOT_FOUND:
            return CallError(FailureKind.PERMANENT, "not_found", detail)
        if status == httpx.codes.TOO_MANY_REQUESTS:
            return CallError(FailureKind.TEMPORARY, "overloaded", detail)
        if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return CallError(lost, "server_error", detail)
        return CallError(FailureKind.PERMANENT, "refused", detail)

    def _unreachable(self, kind: FailureKind, error: Exception) -> CallError:
        # httpx's own text may hold the URL with its parameters.
        return CallError(
            kind,
            "unreachable",
            f"{self._what} at {self._where} could not be asked: {type(error).__name__} within "
            f"{self._settings.timeout:g} s; is it up, and is the URL in environments.yml right?",
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
            return resolve(reference, where=f"environments.yml: {self._what}").reveal()
        except Problem as problem:
            raise CallError(FailureKind.PERMANENT, problem.code, f"{self._what}: {problem.detail}") from None


def _error_text(text: bytes) -> str:
    """What the server itself says was wrong: Prometheus' `error`, Alertmanager's bare text."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if isinstance(document, dict):
        document = document.get("error") or document.get("message") or ""
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
