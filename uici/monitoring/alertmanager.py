"""Alertmanager's API v2, as far as it is used.

Source: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from urllib.parse import quote

from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.call import CallError, FailureKind
from uici.model.servers import Alertmanager
from uici.monitoring.http import MonitoringHttp


class SilenceMatcher(Frozen):
    """One matcher of a silence."""

    name: str
    value: str
    is_regex: bool = False
    is_equal: bool = True

    def as_json(self) -> JsonObject:
        """As the API wants it."""
        return {"name": self.name, "value": self.value, "isRegex": self.is_regex, "isEqual": self.is_equal}


class Silence(Frozen):
    """A silence that Alertmanager knows."""

    id: str
    state: str
    """`pending`, `active` or `expired`."""
    created_by: str
    comment: str
    ends_at: str


class Silences(Frozen):
    """All silences, and the server's time when it said so."""

    known: tuple[Silence, ...]
    at: datetime


class KnownAlert(Frozen):
    """An alert that Alertmanager holds."""

    labels: dict[str, str]
    silenced_by: tuple[str, ...]


class AlertmanagerClient:
    """Asks one Alertmanager, and makes and ends silences. Every method raises CallError."""

    def __init__(self, settings: Alertmanager) -> None:
        self._http = MonitoringHttp(settings, "Alertmanager")

    def version(self) -> str:
        """The server's version: whether it answers at all."""
        document = self._http.get("/api/v2/status").document
        try:
            return str(document["versionInfo"]["version"])
        except (KeyError, TypeError) as error:
            raise _wrong(error) from None

    def configuration(self) -> str | None:
        """The configuration in force as the server shows it, secrets hidden; None when it shows none."""
        document = self._http.get("/api/v2/status").document
        text = (document.get("config") or {}).get("original") if isinstance(document, dict) else None
        return text if isinstance(text, str) and text else None

    def silences(self) -> Silences:
        """All silences, ended ones too while Alertmanager still keeps them."""
        answer = self._http.get("/api/v2/silences")
        try:
            known = tuple(_silence(item) for item in answer.document or ())
        except (KeyError, TypeError) as error:
            raise _wrong(error) from None
        return Silences(known=known, at=answer.at)

    def silence(self, id_: str) -> Silence | None:
        """One silence; None when there is none of this id."""
        return next((item for item in self.silences().known if item.id == id_), None)

    def alerts(self, equal: dict[str, str]) -> tuple[KnownAlert, ...]:
        """The alerts that have all these labels, silenced and inhibited ones too."""
        filters = [f"{name}={_quoted(value)}" for name, value in equal.items()]
        document = self._http.get("/api/v2/alerts", {"filter": filters}).document
        try:
            return tuple(
                KnownAlert(labels=dict(item["labels"]), silenced_by=tuple(item["status"]["silencedBy"]))
                for item in document or ()
            )
        except (KeyError, TypeError) as error:
            raise _wrong(error) from None

    def make_silence(
        self, matchers: Iterable[SilenceMatcher], *, begin: datetime, end: datetime, created_by: str, comment: str
    ) -> str:
        """Make a silence and return its id."""
        answer = self._http.change(
            "POST",
            "/api/v2/silences",
            {
                "matchers": [matcher.as_json() for matcher in matchers],
                "startsAt": begin.isoformat(),
                "endsAt": end.isoformat(),
                "createdBy": created_by,
                "comment": comment,
            },
        )
        try:
            return str(answer.document["silenceID"])
        except (KeyError, TypeError):
            raise CallError(
                FailureKind.UNKNOWN, "unusable_answer", "Alertmanager accepted a silence but gave no id for it"
            ) from None

    def expire_silence(self, id_: str) -> None:
        """End a silence now."""
        self._http.change("DELETE", f"/api/v2/silence/{quote(id_, safe='')}")


def _silence(item: JsonValue) -> Silence:
    return Silence(
        id=str(item["id"]),
        state=str(item["status"]["state"]),
        created_by=str(item["createdBy"]),
        comment=str(item["comment"]),
        ends_at=str(item["endsAt"]),
    )


def _quoted(text: str) -> str:
    # The escapes of Alertmanager's matchers: https://prometheus.io/docs/alerting/latest/configuration/#matcher
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _wrong(error: Exception) -> CallError:
    return CallError(
        FailureKind.PERMANENT,
        "unusable_answer",
        f"Alertmanager's answer has not the shape of the API v2 ({error!r}); is this URL Alertmanager's own?",
    )
