"""What a failure of the API server, or of the way to it, means: its kind, its code, and what to do. Needs no SDK."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind

_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) (?:resource "(?P<resource>[^"]*)"|path "(?P<path>[^"]*)")'
    r'(?: in API group "(?P<group>[^"]*)")?(?: in the namespace "(?P<namespace>[^"]*)")?'
)
_WEBHOOK = re.compile(r'admission webhook "([^"]*)" denied the request')
_NOT_SENT = (ConnectionRefusedError, FileNotFoundError, PermissionError)
_NOT_SENT_NAMES = frozenset({"NewConnectionError", "ConnectTimeout", "ConnectTimeoutError", "NameResolutionError"})
_LATE_NAMES = frozenset({"ReadTimeout", "ReadTimeoutError", "TimeoutError", "WebSocketTimeoutException"})


def refused(where: str, request: str, status: int, content: bytes, mutates: bool, body: JsonValue = None) -> CallError:
    """The error of an answer that is no success. Values of variables and secrets in `body` are kept out of it."""
    said = status_of(content)
    message = _without(" ".join(str(said.get("message") or "no reason given").split())[:1500], secret_values(body))
    reason = str(said.get("reason") or "")
    detail: JsonObject = {"status": status, "reason": reason}
    if status == HTTPStatus.FORBIDDEN:
        return _forbidden(where, message, detail)
    kind, code = _classed(status, reason, message, mutates, _causes(said))
    if token := (said.get("metadata") or {}).get("continue"):
        detail["continue"] = token
    if causes := _causes(said, "message"):
        detail["causes"] = causes
    if retry_after := (said.get("details") or {}).get("retryAfterSeconds"):
        detail["retry_after_seconds"] = retry_after
    return CallError(
        kind, code, f"{where} answered {status} to {request}: {message}{_ADVICE.get(code, '')}", detail=detail
    )


def _classed(status: int, reason: str, message: str, mutates: bool, causes: Sequence[str]) -> tuple[FailureKind, str]:
    """Kind and code of an answer other than 403."""
    if _WEBHOOK.search(message):
        return FailureKind.PERMANENT, "admission_denied"
    if status == HTTPStatus.NOT_FOUND:
        # Without a name in its details it is the path that means nothing: the kind is not served.
        known = "could not find the requested resource" not in message
        return FailureKind.PERMANENT, "object_not_found" if known else "kind_not_served"
    if status == HTTPStatus.CONFLICT:
        exists = reason == "AlreadyExists"
        return (FailureKind.PERMANENT, "already_exists") if exists else (FailureKind.TEMPORARY, "conflict")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        budget = "DisruptionBudget" in causes
        return FailureKind.TEMPORARY, "disruption_budget" if budget else "kubernetes_busy"
    if status in _BY_STATUS:
        return FailureKind.PERMANENT, _BY_STATUS[HTTPStatus(status)]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        if "failed calling webhook" in message or "failed calling admission webhook" in message:
            # Admission comes before anything is written.
            return FailureKind.TEMPORARY, "admission_unreachable"
        return FailureKind.UNKNOWN if mutates else FailureKind.TEMPORARY, "kubernetes_error"
    return FailureKind.PERMANENT, "kubernetes_refused"


_BY_STATUS = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.METHOD_NOT_ALLOWED: "not_supported",
    HTTPStatus.NOT_ACCEPTABLE: "not_supported",
    HTTPStatus.GONE: "expired",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "not_supported",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid_object",
}
_ADVICE = {
    "unauthorized": "; its credentials are wrong or have expired: renew those that the environment's connection names, "
    "and compare this machine's clock with the server's, since signed tokens count for minutes only",
    "conflict": "; somebody else changed it meanwhile: look again, then decide again",
    "admission_denied": "; the cluster's own policy forbids it: change the parameters, or ask who keeps that policy",
    "admission_unreachable": "; the webhook that has to agree does not answer: heal it first",
    "disruption_budget": "; wait until more of its pods are healthy, or change its PodDisruptionBudget",
    "kubernetes_busy": "; lower connection.requests_per_second, or wait",
}


def _forbidden(where: str, message: str, detail: JsonObject) -> CallError:
    said = _FORBIDDEN.search(message)
    if said is None:
        code = "quota_exceeded" if "exceeded quota" in message else "admission_denied"
        advice = "; raise the ResourceQuota, or ask for less" if code == "quota_exceeded" else _ADVICE[code]
        return CallError(FailureKind.PERMANENT, code, f"{where} forbids it: {message}{advice}", detail=detail)
    missing = {name: said[name] or "" for name in ("user", "verb", "resource", "group", "namespace", "path")}
    if missing["path"]:
        rule = f"{{nonResourceURLs: [{json.dumps(missing['path'])}], verbs: [{missing['verb']}]}}"
        what, scope, grant = missing["path"], "", "a ClusterRole"
    else:
        rule = (
            f"{{apiGroups: [{json.dumps(missing['group'])}], resources: [{missing['resource']}], "
            f"verbs: [{missing['verb']}]}}"
        )
        what = missing["resource"] + (f" of {missing['group']}" if missing["group"] else "")
        scope = f" in namespace {missing['namespace']!r}" if missing["namespace"] else " in the whole cluster"
        grant = f"a Role in {missing['namespace']!r}" if missing["namespace"] else "a ClusterRole"
    return CallError(
        FailureKind.PERMANENT,
        "forbidden",
        f"user {missing['user']!r} may not {missing['verb']} {what}{scope} at {where}; grant it by {grant} "
        f"with the rule {rule}",
        detail={**detail, "missing": missing},
    )


def lost(where: str, error: BaseException, mutates: bool) -> CallError:
    """The error of a request that got no whole answer."""
    links = chain(error)
    names = {type(link).__name__ for link in links}
    refused_by = next((link for link in links if type(link).__name__ in ("SSLError", "SSLCertVerificationError")), None)
    if refused_by is not None and not names & {"ProtocolError", "SSLEOFError"}:
        return CallError(
            FailureKind.PERMANENT,
            "tls_refused",
            f"{where} cannot be trusted: {str(refused_by)[:200]}; correct the CA of the connection",
        )
    if any(isinstance(link, _NOT_SENT) for link in links) or names & _NOT_SENT_NAMES:
        root = next((link for link in links if isinstance(link, OSError) and link.errno is not None), links[-1])
        return CallError(
            FailureKind.TEMPORARY,
            "kubernetes_unreachable",
            f"{where} cannot be reached: {type(root).__name__}: {str(root)[:200]}; check that it runs and that UICI's "
            "machine may connect to it",
        )
    late = bool(names & _LATE_NAMES)
    code = "kubernetes_timeout" if late else "kubernetes_connection_lost"
    what = "gave no whole answer in time" if late else "ended the connection before it had answered"
    if mutates:
        return CallError(FailureKind.UNKNOWN, code, f"{where} {what}; whether it carried the request out is not known")
    return CallError(FailureKind.TEMPORARY, code, f"{where} {what}; nothing was asked to change")


def status_of(content: bytes) -> dict[str, Any]:
    """The Status object that the API server answers with when it refuses; a text becomes its message."""
    text = content.decode("utf-8", "replace")
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    return said if isinstance(said, dict) else {"message": text}


def secret_values(body: JsonValue) -> list[str]:
    """Values that may be secret in a body that is sent: of variables, and of what a Secret or ConfigMap holds."""
    found: list[str] = []
    waiting: list[JsonValue] = [body]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            for key, value in part.items():
                if key in ("data", "stringData", "binaryData") and isinstance(value, dict):
                    found += [str(item) for item in value.values()]
                elif key == "env" and isinstance(value, list):
                    found += [str(one["value"]) for one in value if isinstance(one, dict) and one.get("value")]
                else:
                    waiting.append(value)
    return found


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) > 2:  # shorter ones would mask half of every sentence and hide nothing
            text = text.replace(secret, "***").replace(json.dumps(secret)[1:-1], "***")
    return text


def _causes(said: JsonObject, part: str = "reason") -> list[str]:
    return [str(cause.get(part)) for cause in (said.get("details") or {}).get("causes") or ()]


def chain(error: BaseException | None) -> list[BaseException]:
    """The error, its causes and contexts, and the errors that urllib3 keeps among the arguments."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting:
        link = waiting.pop(0)
        if link is None or link in found:
            continue
        found.append(link)
        more = (link.__cause__, link.__context__, getattr(link, "reason", None), *link.args)
        waiting += [part for part in more if isinstance(part, BaseException)]
    return found
