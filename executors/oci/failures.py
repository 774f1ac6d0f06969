"""What a failure of the SDK means: whether the request was carried out, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import NamedTuple

from uici.model.call import CallError, FailureKind

_NOT_SENT = frozenset(
    {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ConnectTimeout", "SSLError"}
)
"""urllib3's and requests' words for a request that never reached anybody."""


class Meaning(NamedTuple):
    """Of one answer: what kind of failure, our name for it, and what to do."""

    kind: FailureKind
    code: str
    advice: str


_BY_CODE = {
    "NotAuthenticated": Meaning(
        FailureKind.PERMANENT,
        "oci_not_authenticated",
        "check the key's fingerprint, user and tenancy in the profile, that the key is still registered, and this "
        "machine's clock",
    ),
    "NotAuthorizedOrNotFound": Meaning(
        FailureKind.PERMANENT,
        "oci_not_found",
        "it does not exist in this region, or no policy lets UICI see it: check the OCID and the policies of its "
        "compartment",
    ),
    "NotAuthorized": Meaning(
        FailureKind.PERMANENT, "oci_not_permitted", "write a policy that allows UICI's group this in the compartment"
    ),
    "NotFound": Meaning(FailureKind.PERMANENT, "oci_not_found", "check the name or OCID"),
    "IncorrectState": Meaning(
        FailureKind.TEMPORARY, "oci_incorrect_state", "something else is being done with it; it may be tried again"
    ),
    "LockConflict": Meaning(FailureKind.TEMPORARY, "oci_incorrect_state", "it may be tried again"),
    "NoEtagMatch": Meaning(
        FailureKind.TEMPORARY, "oci_changed_meanwhile", "somebody changed it at the same moment; look again"
    ),
    "LimitExceeded": Meaning(
        FailureKind.PERMANENT, "oci_limit_exceeded", "ask for a higher service limit, or free what is not needed"
    ),
    "QuotaExceeded": Meaning(FailureKind.PERMANENT, "oci_limit_exceeded", "raise the compartment's quota"),
    "TooManyRequests": Meaning(FailureKind.TEMPORARY, "oci_throttled", "it may be tried again after a while"),
}
_BY_STATUS = {
    401: _BY_CODE["NotAuthenticated"],
    403: _BY_CODE["NotAuthorized"],
    404: _BY_CODE["NotAuthorizedOrNotFound"],
    412: _BY_CODE["NoEtagMatch"],
    429: _BY_CODE["TooManyRequests"],
}


def translated(error: Exception, doing: str, where: str, *, mutates: bool) -> CallError:
    """The CallError for what the SDK raised while it was `doing` something. Nothing of a credential is in it."""
    import oci

    if isinstance(error, oci.exceptions.ServiceError):
        return _refused(error, doing, where, mutates)
    names = {type(one).__name__ for one in _chain(error)}
    if isinstance(error, oci.exceptions.BaseRequestException) or names & _NOT_SENT:
        if names & _NOT_SENT:
            kind, what = FailureKind.TEMPORARY, "could not be reached, so nothing was sent"
        elif mutates:
            kind, what = FailureKind.UNKNOWN, "gave no answer; whether it was carried out must be read from its state"
        else:
            kind, what = FailureKind.TEMPORARY, "gave no answer"
        advice = "check the network, the region and connection.endpoint"
        return CallError(kind, "oci_unreachable", f"{where} {what} ({doing}: {type(error).__name__}); {advice}")
    # Whatever else the SDK raises it raises before it sends: a wrong profile, key, argument.
    said = " ".join(str(error).split())[:300]
    return CallError(FailureKind.PERMANENT, "oci_not_sent", f"{doing} was not sent to {where}: {said}")


_WHY_NONE = MappingProxyType(
    {
        "ConfigFileNotFound": "there is no such file",
        "ProfileNotFound": "the file has no such profile",
        "InvalidKeyFilePath": "the key that it names is not there",
    }
)
"""Words for the SDK's own exceptions."""


def credentials(error: Exception, what: str) -> CallError:
    """The CallError for credentials that could not be made. The error's own text may hold parts of a file."""
    why = _WHY_NONE.get(type(error).__name__, type(error).__name__)
    return CallError(
        FailureKind.PERMANENT,
        "oci_bad_credentials",
        f"{what} gives no credentials ({why}); check the file, the profile, and that UICI may read the key that it "
        "names",
    )


def _refused(error: Exception, doing: str, where: str, mutates: bool) -> CallError:
    status, code = int(getattr(error, "status", 0)), str(getattr(error, "code", "") or "")
    request_id = getattr(error, "request_id", None) or "none"
    said = " ".join(str(getattr(error, "message", "") or "without a word").split())[:400]
    text = f"{where} refused {doing}: {status} {code}: {said} (opc-request-id {request_id})"
    detail = {"status": status, "code": code, "opc_request_id": request_id}
    if status >= 500 or status == 0:
        kind = FailureKind.UNKNOWN if mutates else FailureKind.TEMPORARY
        tail = "whether it was carried out must be read from its state" if mutates else "it may be asked again"
        return CallError(kind, "oci_server_error", f"{text}; {tail}", detail=detail)
    meaning = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if meaning is None:
        return CallError(FailureKind.PERMANENT, "oci_refused", text, detail=detail)
    return CallError(meaning.kind, meaning.code, f"{text}; {meaning.advice}", detail=detail)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it was made of: causes, reasons, arguments."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [*one.args, one.__cause__, one.__context__, getattr(one, "reason", None)]
