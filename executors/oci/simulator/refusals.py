"""The errors of Oracle's services, as their clients see them.

Codes and statuses: https://docs.oracle.com/en-us/iaas/Content/API/References/apierrors.htm
"""

from __future__ import annotations

from collections.abc import Mapping


class RefusedError(Exception):
    """A request is answered with an error: status, code and message."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def not_authenticated() -> RefusedError:
    """The service never says which part of the signature was wrong."""
    message = "The required information to complete authentication was not provided or was incorrect."
    return RefusedError(401, "NotAuthenticated", message)


def not_found(what: str = "the resource") -> RefusedError:
    """The same answer for what is not there and for what may not be seen."""
    return RefusedError(404, "NotAuthorizedOrNotFound", f"Authorization failed or requested resource not found: {what}")


def related_not_found(what: str) -> RefusedError:
    """A resource named in the body is not there."""
    message = f"Authorization failed or requested resource not found: {what}"
    return RefusedError(400, "RelatedResourceNotAuthorizedOrNotFound", message)


def unserved(method: str, path: str) -> RefusedError:
    """No operation at this path and method."""
    return RefusedError(404, "NotFound", f"The simulator serves no operation at {method} {path}")


def incorrect_state(message: str) -> RefusedError:
    """The resource is in a state in which this cannot be done."""
    return RefusedError(409, "IncorrectState", message)


def invalidated_retry_token(why: str) -> RefusedError:
    """The token belongs to another request, or what it created is gone."""
    return RefusedError(409, "InvalidatedRetryToken", f"The retry token was used before: {why}")


def invalid_parameter(message: str) -> RefusedError:
    """A value cannot be used."""
    return RefusedError(400, "InvalidParameter", message)


def missing_parameter(name: str) -> RefusedError:
    """A required parameter is not there."""
    return RefusedError(400, "MissingParameter", f"Missing required parameter: {name}")


def cannot_parse(why: str) -> RefusedError:
    """The body is not what the operation takes."""
    return RefusedError(400, "CannotParseRequest", why)


def limit_exceeded(message: str) -> RefusedError:
    """Oracle's limit for the tenancy is reached."""
    return RefusedError(400, "LimitExceeded", message)


def no_etag_match() -> RefusedError:
    """The resource has changed since the etag that `if-match` names."""
    return RefusedError(412, "NoEtagMatch", "The etag does not match the current etag of the resource")


def throttled() -> RefusedError:
    """Too many requests."""
    return RefusedError(429, "TooManyRequests", "User-rate limit exceeded.")


def internal(message: str = "An internal server error has occurred.") -> RefusedError:
    """The service itself failed."""
    return RefusedError(500, "InternalServerError", message)
