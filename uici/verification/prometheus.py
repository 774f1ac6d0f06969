"""Whether an alert still fires, as Prometheus itself says. A resolved notification may be lost, a silence hides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from uici.model.alert import Alert
from uici.model.call import CallError
from uici.monitoring.prometheus import AlertingRule, PrometheusClient, Series
from uici.monitoring.selectors import quoted

_log = structlog.get_logger(__name__)

_OWN_LABELS = frozenset({"__name__", "alertstate"})


def alert_fires(prometheus: PrometheusClient, alert: Alert) -> bool | None:
    """Whether `alert` fires at this moment; None when that cannot be told.

    Asks for `ALERTS{alertstate="firing"}` by the alert's name and compares the labels of what comes back: a series is
    this alert when all of its labels are labels of the alert with the same values. The alert may have more of them,
    since Prometheus adds its external labels and Alertmanager's senders their own only when they notify. (Where
    `alert_relabel_configs` *change* a label's value, the comparison fails and silence is seen too early: leave labels
    of such alerts as the rule makes them.)

    No such series is silence only if Prometheus evaluates the alert's rule without an error: a rule that was deleted,
    fails, or was never evaluated since a restart says nothing, and gives None. A server without a rules API (404) is
    taken at its word. Alertmanager is not asked: what it silences or inhibits still fires. Blocks for at most about
    twice the server's `timeout`.
    """
    if not alert.name:
        return None
    try:
        found = prometheus.query(f'ALERTS{{alertstate="firing",alertname={quoted(alert.name)}}}')
        if _among(found.series, alert.labels):
            return True
        if found.warnings and not found.series:
            _log.warning("prometheus_answer_partial", alertname=alert.name, warnings=found.warnings)
            return None
        try:
            rules = prometheus.alerting_rules()
        except CallError as error:
            if error.code == "not_found":
                return False
            raise
    except CallError as error:
        # Not knowing is an answer here: the verdict stays open, and in the end inconclusive.
        _log.warning("prometheus_not_asked", alertname=alert.name, error=error.message[:300])
        return None
    return False if _evaluated(rules, alert.name) else None


def _among(series: Iterable[Series], labels: Mapping[str, str]) -> bool:
    return any(
        all(labels.get(name) == value for name, value in one.labels.items() if name not in _OWN_LABELS)
        for one in series
    )


def _evaluated(rules: Iterable[AlertingRule], name: str) -> bool:
    """Whether a rule of this name exists and every one of them was evaluated without an error."""
    health = [rule.health for rule in rules if rule.name == name]
    return bool(health) and all(state == "ok" for state in health)
