"""What splits requests between a main service and its canary: the council's `/canary`, as far as it is used."""

from __future__ import annotations

from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.call import CallError, FailureKind
from uici.model.servers import TrafficServer
from uici.monitoring.http import MonitoringHttp

_PATH = "/canary"


class Traffic(Frozen):
    """How requests are split."""

    weight: float
    """The canary's share, from 0 to 1."""
    measured_share: float | None
    verdict: str
    reason: str
    because: tuple[str, ...]
    """Why each of the last weights was set, the newest first."""


class TrafficClient:
    """Asks for the split, and changes it. Every method raises CallError."""

    def __init__(self, settings: TrafficServer) -> None:
        self._http = MonitoringHttp(settings, "the traffic splitter")

    def traffic(self) -> Traffic:
        """The split as it is now."""
        document = self._http.get(_PATH).document
        try:
            gates = [gate for gate in document["gates"] if gate["verdict"] != "PASS"]
            return Traffic(
                weight=document["weight"],
                measured_share=document["measured_share"],
                verdict=document["verdict"],
                reason="; ".join(f"{gate['gate']}: {gate['reason']}" for gate in gates),
                because=tuple(each["because"] for each in document["history"]),
            )
        except (KeyError, TypeError, ValueError):
            raise _strange(document) from None

    def set_weight(self, weight: float, because: str) -> JsonObject:
        """Set the canary's share. What came of it: `weight`, `changed`."""
        document = self._http.change("PUT", _PATH, {"weight": weight, "because": because}).document
        if not isinstance(document, dict) or not {"weight", "changed"} <= document.keys():
            raise _strange(document)
        return {"weight": document["weight"], "changed": document["changed"]}


def _strange(document: JsonValue) -> CallError:
    return CallError(
        FailureKind.PERMANENT,
        "not_a_split",
        f"the answer does not say how traffic is split: {document!r:.200}; is the URL under `traffic` in "
        "environments.yml that of the council, and has its agents.yml a canary?",
    )
