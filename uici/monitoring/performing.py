"""The built-in calls that go to an environment's Prometheus, Alertmanager or traffic splitter, and their proofs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from uici.model.base import JsonObject
from uici.model.builtin import BUILTIN_SPECS, EXPIRE, QUERY, SET_TRAFFIC, SILENCE, TRAFFIC
from uici.model.call import Call, CallError, FailureKind, Happened
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.site import Environment
from uici.monitoring.alertmanager import AlertmanagerClient, Silence, SilenceMatcher
from uici.monitoring.prometheus import PrometheusClient
from uici.monitoring.selectors import narrowed
from uici.monitoring.traffic import TrafficClient

CREATED_BY = "uici"

_DEFAULT_SERIES = 20
_OWN_ALERTS = ("uici_target", "job", "service", "instance", "container", "container_name", "name", "pod", "program")
"""Labels by which an alert names what it is about; none of them may name UICI in an alert that a silence hides."""


class MonitoringCalls:
    """Carries out the built-in calls of one environment, as an executor does those of its platform."""

    rehearses: ClassVar[bool] = False

    def __init__(self, name: str, environment: Environment, identity: SelfIdentity, layers: SelfGuardLayers) -> None:
        """Nothing is asked yet; credentials are resolved at each request."""
        self._name = name
        self._environment = environment
        self._identity = identity
        self._layers = layers

    def perform(self, call: Call) -> JsonObject:
        """Carry out one call. Raises CallError."""
        if call.name == QUERY:
            return self._query(call.arguments)
        if call.name == SILENCE:
            return self._silence(call)
        if call.name == EXPIRE:
            return self._expire(call.arguments)
        if call.name == TRAFFIC:
            return self._traffic().traffic().model_dump(mode="json", exclude={"because"})
        if call.name == SET_TRAFFIC:
            because = f"{call.arguments['because']} [{_mark(call)}]"
            return self._traffic().set_weight(call.arguments["weight"], because)
        raise _unknown(call)

    def before(self, call: Call) -> JsonObject:
        """What `happened` will need: nothing, for a silence bears the mark of the call that made it."""
        return {}

    def happened(self, call: Call, before: JsonObject) -> Happened:
        """Whether Alertmanager's silences show that the call was carried out. Raises CallError when it cannot say."""
        if call.name == SILENCE:
            return Happened.NO if self._marked(call) is None else Happened.YES
        if call.name == EXPIRE:
            found = self._alertmanager().silence(call.arguments["silence"])
            return Happened.YES if found is None or found.state == "expired" else Happened.NO
        if call.name == SET_TRAFFIC:
            now = self._traffic().traffic()
            # Where it was so already, no setting bears the mark of the call; then it is as it should be anyway.
            marked = any(because.endswith(f"[{_mark(call)}]") for because in now.because)
            return Happened.YES if marked or now.weight == call.arguments["weight"] else Happened.NO
        raise _unknown(call)

    def rehearse(self, call: Call) -> None:
        """Neither Prometheus nor Alertmanager knows a dry run."""

    def _query(self, arguments: JsonObject) -> JsonObject:
        settings = self._environment.prometheus
        if settings is None:
            raise self._nowhere("prometheus")
        try:
            query = narrowed(arguments["query"], arguments.get("labels", {}))
        except ValueError as error:
            raise CallError(FailureKind.PERMANENT, "bad_query", f"query_metrics: {error}") from None
        found = PrometheusClient(settings).query(query).series
        if not found:
            raise CallError(
                FailureKind.PERMANENT,
                "empty_result",
                f"Prometheus has no series for {query:.300}; where none is an answer, write `or vector(0)` behind it",
            )
        shown = found[: arguments.get("limit", _DEFAULT_SERIES)]
        return {
            "name": arguments.get("name", ""),
            "value": found[0].value if len(found) == 1 else None,
            "series": [series.model_dump(mode="json") for series in shown],
            "count": len(found),
        }

    def _silence(self, call: Call) -> JsonObject:
        matchers: dict[str, str] = call.arguments["matchers"]
        if self._layers.executor:
            self._refuse_own(matchers)
        client = self._alertmanager()
        silences = client.silences()
        known = _of_mark(silences.known, _mark(call))
        if known is not None:
            return {"silence": known.id, "ends_at": known.ends_at}
        # By the server's clock, so that a difference between the two does not lengthen or void the silence.
        end = silences.at + timedelta(seconds=call.arguments["duration_seconds"])
        id_ = client.make_silence(
            (*(SilenceMatcher(name=name, value=value) for name, value in matchers.items()), *self._never_own()),
            begin=silences.at,
            end=end,
            created_by=CREATED_BY,
            comment=f"{call.arguments['comment']} [{_mark(call)}]",
        )
        return {"silence": id_, "ends_at": end.isoformat()}

    def _expire(self, arguments: JsonObject) -> JsonObject:
        client = self._alertmanager()
        found = client.silence(arguments["silence"])
        if found is None:
            raise CallError(
                FailureKind.PERMANENT, "unknown_silence", f"Alertmanager has no silence {arguments['silence']}"
            )
        if found.created_by != CREATED_BY:
            raise CallError(
                FailureKind.PERMANENT,
                "not_ours",
                f"silence {found.id} was made by {found.created_by!r:.100}; UICI ends only its own",
            )
        if found.state == "expired":
            return {"silence": found.id, "changed": False}
        client.expire_silence(found.id)
        return {"silence": found.id, "changed": True}

    def _refuse_own(self, matchers: Mapping[str, str]) -> None:
        named = self._identity.is_reached_by(dict(matchers)) or self._own_name(matchers["alertname"])
        if named is not None:
            raise CallError(
                FailureKind.PERMANENT,
                "self_target",
                f"a silence of {named!r:.200} would hide alerts about UICI itself",
            )

    def _own_name(self, alertname: str) -> str | None:
        """The name, where it begins with what UICI is called, as the shipped rules about UICI itself do."""
        lowered = alertname.lower()
        return alertname if any(lowered.startswith(name) for name in self._identity.names) else None

    def _never_own(self) -> tuple[SilenceMatcher, ...]:
        """Matchers that let every alert about UICI through, also one that only fires later."""
        names = "|".join(re.escape(name) for name in sorted(self._identity.names))
        if not (names and self._layers.executor):
            return ()
        pattern = f"(?i:{names})"
        return tuple(SilenceMatcher(name=label, value=pattern, is_regex=True, is_equal=False) for label in _OWN_ALERTS)

    def _marked(self, call: Call) -> Silence | None:
        return _of_mark(self._alertmanager().silences().known, _mark(call))

    def _alertmanager(self) -> AlertmanagerClient:
        if self._environment.alertmanager is None:
            raise self._nowhere("alertmanager")
        return AlertmanagerClient(self._environment.alertmanager)

    def _traffic(self) -> TrafficClient:
        if self._environment.traffic is None:
            raise self._nowhere("traffic")
        return TrafficClient(self._environment.traffic)

    def _nowhere(self, what: str) -> CallError:
        return CallError(
            FailureKind.PERMANENT,
            f"no_{what}",
            f"the environment {self._name!r} has no {what}; write its url under environments.{self._name}.{what} "
            "in environments.yml",
        )


def _mark(call: Call) -> str:
    """What tells the silence of this very sending from all others, also from one of an earlier run of the same plan."""
    return "uici:" + hashlib.sha256(call.key.encode()).hexdigest()[:24]


def _of_mark(silences: tuple[Silence, ...], mark: str) -> Silence | None:
    return next(
        (item for item in silences if item.created_by == CREATED_BY and item.comment.endswith(f"[{mark}]")), None
    )


def _unknown(call: Call) -> CallError:
    choices = ", ".join(name for name in BUILTIN_SPECS if "." in name)
    return CallError(
        FailureKind.PERMANENT, "unknown_call", f"the monitoring has no call {call.name!r:.100}; there are {choices}"
    )
