"""Refusals in the form that clients of the OpenAI API know."""

from __future__ import annotations

from uici.model.base import JsonObject


class RefusalError(Exception):
    """An answer of 4xx or 5xx. Its text reaches clients and never holds a secret."""

    def __init__(
        self, status: int, code: str, message: str, *, parameter: str | None = None, retry_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        """Stable snake_case name."""
        self.message = message
        self.parameter = parameter
        self.retry_seconds = retry_seconds
        """When to try again, where that is known."""

    def document(self) -> JsonObject:
        """The body, as in https://platform.openai.com/docs/guides/error-codes ."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        kind = {401: "authentication_error", 403: "permission_error", 429: "insufficient_quota"}.get(self.status, kind)
        return {"error": {"message": self.message, "type": kind, "param": self.parameter, "code": self.code}}
