"""Values of an incident in the parameters that strategies write: `${labels.instance}`, `${target.container}`.

As everywhere a reference is the whole value, and what comes in through one is data: it is never looked at for
references again, never pasted into a text, and the operation's schema and the call's are checked after it is in.
"""

from __future__ import annotations

from uici.model.alert import Alert
from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.condition import select
from uici.model.references import Reference, references, resolve

ROOTS = ("labels", "target", "incident")
"""`labels`: the alert's; `target`: the binding; `incident`: `target` and `environment`, by their names."""

_MISSING = object()


class MissingValueError(ValueError):
    """A strategy refers to something that this incident does not have; leaving it out could widen what is meant."""


class IncidentValues(Frozen):
    """What the parameters of a strategy may refer to."""

    labels: dict[str, str]
    binding: JsonObject
    environment: str
    target: str

    @classmethod
    def of(cls, alert: Alert | None, binding: JsonObject | None, environment: str, target: str) -> IncidentValues:
        """The values of an incident; `alert` is the one that the strategy was chosen for."""
        return cls(
            labels=dict(alert.labels) if alert is not None else {},
            binding=dict(binding or {}),
            environment=environment,
            target=target,
        )

    def fill(self, parameters: JsonObject) -> JsonObject:
        """`parameters` with every reference replaced. Raises MissingValueError."""
        for reference in references(parameters):
            if self._value(reference) is _MISSING:
                known = ", ".join(sorted(self.labels)) if reference.root == "labels" else ", ".join(self.binding)
                raise MissingValueError(
                    f"${{{reference.dotted}}} has no value here"
                    + (f"; there are {known}" if known and reference.root in ("labels", "target") else "")
                )
        filled: JsonObject = resolve(parameters, self._value)
        return filled

    def _value(self, reference: Reference) -> JsonValue:
        path = ".".join(reference.path)
        if reference.root == "labels":
            # A label's name has no dots, so it is looked up whole.
            return self.labels.get(path, _MISSING)
        if reference.root == "incident":
            return {"environment": self.environment, "target": self.target}.get(path, _MISSING)
        return select(self.binding, path, _MISSING) if path else self.binding
