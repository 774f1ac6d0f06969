"""Which strategy an alert falls under, remembered: the alerts of a storm differ in labels that no strategy looks at."""

from __future__ import annotations

from uici.model.alert import Alert
from uici.model.site import Site, Strategy

_MOST = 4096
_LONGEST = 1024
"""Characters of all labels together that are remembered: whoever sends long ones fills no memory with them."""


class StrategyIndex:
    """The strategies of one site. Thread-safe."""

    def __init__(self, site: Site) -> None:
        looked_at = {matcher.label for strategy in site.strategies.values() for matcher in strategy.match}
        self._labels = ("alertname", *sorted(looked_at - {"alertname"}))
        self._found: dict[tuple[str | None, ...], tuple[str, Strategy] | None] = {}

    def of(self, site: Site, alert: Alert) -> tuple[str, Strategy] | None:
        """As `site.strategy_for`, for the site that this was made of."""
        key = tuple(map(alert.labels.get, self._labels))
        known = self._found  # emptied by another in its place
        if key in known:
            return known[key]
        found = site.strategy_for(alert)
        if sum(map(len, filter(None, key))) <= _LONGEST:
            if len(self._found) >= _MOST:
                self._found = {}
            self._found[key] = found
        return found
