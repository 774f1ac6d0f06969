"""Prometheus' HTTP API, as far as it is asked.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from uici.model.base import Frozen, JsonValue
from uici.model.call import CallError, FailureKind
from uici.model.servers import Prometheus
from uici.monitoring.http import MonitoringHttp


class Series(Frozen):
    """One element of an instant vector."""

    labels: dict[str, str]
    value: float | None
    """None for NaN and the infinities, which are no numbers to compare with."""


class Vector(Frozen):
    """The answer to an instant query."""

    series: tuple[Series, ...]
    warnings: tuple[str, ...]


class FiringAlert(Frozen):
    """An alert as a rule of Prometheus sees it now."""

    labels: dict[str, str]
    state: str
    """`pending` or `firing`."""


class AlertingRule(Frozen):
    """A rule, and how its last evaluation went."""

    name: str
    health: str
    """`ok`, `err`, or `unknown` before the first evaluation."""


class PrometheusClient:
    """Asks one Prometheus. Every method raises CallError."""

    def __init__(self, settings: Prometheus) -> None:
        self._http = MonitoringHttp(settings, "Prometheus")

    def query(self, promql: str) -> Vector:
        """An instant query at the server's present time. A scalar is a vector of one series without labels."""
        document = self._http.get("/api/v1/query", {"query": promql}).document
        data = _data(document)
        warnings = document.get("warnings") or ()
        kind, result = data.get("resultType"), data.get("result")
        if kind == "scalar":
            result = [{"metric": {}, "value": result}]
        elif kind != "vector":
            raise _wrong(f"gives a {kind}, not an instant vector; drop the range ([5m]) or put a function around it")
        try:
            series = tuple(
                Series(labels=dict(item["metric"]), value=_number(item["value"][1])) for item in result or ()
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise _wrong(f"has not the shape of the API: {error!r}") from None
        return Vector(series=series, warnings=tuple(str(text) for text in warnings))

    def alerts(self) -> tuple[FiringAlert, ...]:
        """Every alert that is pending or fires."""
        data = _data(self._http.get("/api/v1/alerts").document)
        try:
            return tuple(FiringAlert(labels=dict(item["labels"]), state=item["state"]) for item in data["alerts"])
        except (KeyError, TypeError, ValueError) as error:
            raise _wrong(f"has not the shape of the API: {error!r}") from None

    def alerting_rules(self) -> tuple[AlertingRule, ...]:
        """Every alerting rule. CallError `not_found` from a server that has no rules API."""
        data = _data(self._http.get("/api/v1/rules", {"type": "alert"}).document)
        try:
            return tuple(
                AlertingRule(name=rule["name"], health=rule["health"])
                for group in data["groups"]
                for rule in _alerting(group["rules"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _wrong(f"has not the shape of the API: {error!r}") from None


def _alerting(rules: JsonValue) -> Iterator[JsonValue]:
    return (rule for rule in rules if rule["type"] == "alerting")


def _data(document: JsonValue) -> JsonValue:
    if not isinstance(document, dict) or document.get("status") != "success":
        raise _wrong("is not the API's `success`; is this URL Prometheus' own?")
    data = document.get("data")
    if not isinstance(data, dict):
        raise _wrong("has no data")
    return data


def _number(text: JsonValue) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _wrong(why: str) -> CallError:
    return CallError(FailureKind.PERMANENT, "unusable_answer", f"Prometheus' answer {why}")
