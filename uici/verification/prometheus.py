"""Asking Prometheus itself whether an alert still fires. A resolved notification may be lost, a silence hides.

API: https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from functools import cache

import httpx
import structlog

from uici.model.alert import Alert
from uici.model.base import JsonValue
from uici.model.site import Prometheus

_log = structlog.get_logger(__name__)

_OWN_LABELS = frozenset({"__name__", "alertstate"})


def alert_fires(settings: Prometheus, token: str | None, alert: Alert) -> bool | None:
    """Whether `alert` fires at this moment; None when that cannot be told.

    Asks for `ALERTS{alertstate="firing"}` by the alert's name and compares the labels of what comes back: a series is
    this alert when all of its labels are labels of the alert with the same values. The alert may have more of them,
    since Prometheus adds its external labels and Alertmanager's senders their own only when they notify. (Where
    `alert_relabel_configs` *change* a label's value, the comparison fails and silence is seen too early: leave labels
    of such alerts as the rule makes them.)

    No such series is silence only if Prometheus evaluates the alert's rule without an error: a rule that was deleted,
    fails, or was never evaluated since a restart says nothing, and gives None. A server without a rules API (404) is
    taken at its word. `token` is the resolved bearer token. Blocks for at most about twice `settings.timeout`.
    """
    if not alert.name:
        return None
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    base = settings.url.rstrip("/")
    query = f'ALERTS{{alertstate="firing",alertname={_quoted(alert.name)}}}'
    try:
        with httpx.Client(
            headers=headers, timeout=settings.timeout, trust_env=False, verify=_tls(), follow_redirects=False
        ) as client:
            answer = client.get(f"{base}/api/v1/query", params={"query": query})
            if answer.status_code != httpx.codes.OK:
                raise ValueError(f"status {answer.status_code}")
            if _among(_series(answer.json()), alert.labels):
                return True
            rules = client.get(f"{base}/api/v1/rules", params={"type": "alert"})
            if rules.status_code == httpx.codes.NOT_FOUND:
                return False
            if rules.status_code != httpx.codes.OK:
                raise ValueError(f"status {rules.status_code} for the rules")
            return False if _evaluated(rules.json(), alert.name) else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        # Not knowing is an answer here: the verdict stays open, and in the end inconclusive.
        _log.warning("prometheus_not_asked", alertname=alert.name, error=f"{type(error).__name__}: {error}"[:300])
        return None


def _quoted(text: str) -> str:
    # PromQL takes Go's double-quoted strings; the escapes that JSON writes are among theirs.
    return json.dumps(text, ensure_ascii=False)


def _series(document: JsonValue) -> list[Mapping[str, str]]:
    """The label sets of an instant vector. Raises ValueError when the answer is not a whole one."""
    try:
        if document["status"] != "success" or document["data"]["resultType"] != "vector":
            raise ValueError("the answer is no instant vector")
        series: list[Mapping[str, str]] = [dict(item["metric"]) for item in document["data"]["result"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"the answer has not the shape of the API: {error!r}") from None
    if document.get("warnings") and not series:
        raise ValueError("the answer may be partial: it comes with warnings")
    return series


def _among(series: list[Mapping[str, str]], labels: Mapping[str, str]) -> bool:
    return any(
        all(labels.get(name) == value for name, value in metric.items() if name not in _OWN_LABELS) for metric in series
    )


def _evaluated(document: JsonValue, name: str) -> bool:
    """Whether a rule of this name exists and every one of them was evaluated without an error."""
    try:
        health = [
            rule["health"]
            for group in document["data"]["groups"]
            for rule in group["rules"]
            if rule["type"] == "alerting" and rule["name"] == name
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"the rules have not the shape of the API: {error!r}") from None
    return bool(health) and all(state == "ok" for state in health)


@cache
def _tls() -> ssl.SSLContext:
    # Reading the system's certificates takes longer than the question.
    return ssl.create_default_context()
