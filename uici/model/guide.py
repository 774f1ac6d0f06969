"""Guides: what people wrote down for people about an alert. Markdown, with a head that says what it is about.

A guide advises and never acts: which remedies there are, strategies say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field

from uici.model.base import Frozen
from uici.model.matching import Matcher, all_match
from uici.model.scope import Pattern, matches

MAX_BYTES = 64 * 1024
"""Of one file."""
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"

_Name = Annotated[str, Field(min_length=1, max_length=253)]


class GuideHead(Frozen):
    """guides/<name>.md, between its first line, which is `---`, and the next such line; the Markdown follows.

    Of `alerts`, `findings` and `strategies` any one that applies makes the guide one for the incident; `targets` limits
    it to these. A guide with none of the four is found by searching only.
    """

    title: str = Field(min_length=1, max_length=200, description="what people read in a list of guides")
    alerts: tuple[Matcher, ...] = Field(default=(), max_length=50, description="for alerts with all these labels")
    findings: tuple[_Name, ...] = Field(
        default=(), max_length=50, description="for incidents with any of these findings"
    )
    strategies: tuple[_Name, ...] = Field(
        default=(), max_length=50, description="for incidents that any of these strategies treats"
    )
    targets: tuple[Pattern, ...] = Field(default=(), max_length=50, description="only for targets with such a name")
    tags: tuple[Annotated[str, Field(min_length=1, max_length=50)], ...] = Field(
        default=(), max_length=50, description="further words by which it is found"
    )


class Guide(GuideHead):
    """One guide."""

    name: str
    text: str = Field(repr=False)
    """Markdown, as it was written: foreign text for whoever shows it or gives it to a model."""

    def applies(
        self,
        labels: Iterable[Mapping[str, str]],
        findings: frozenset[str],
        target: str | None,
        strategy: str | None,
    ) -> int:
        """How many of its conditions apply; 0 when it is no guide for this."""
        if self.targets and (target is None or not matches(self.targets, target)):
            return 0
        reasons = len(findings.intersection(self.findings)) + (strategy in self.strategies)
        reasons += bool(self.alerts) and any(all_match(self.alerts, each) for each in labels)
        if not reasons and (self.alerts or self.findings or self.strategies):
            return 0
        return reasons + bool(self.targets)


def relevant(
    guides: Iterable[Guide],
    labels: Iterable[Mapping[str, str]] = (),
    findings: Iterable[str] = (),
    target: str | None = None,
    strategy: str | None = None,
) -> tuple[Guide, ...]:
    """The guides for an incident with these alerts' labels: those of which most applies first, then by name."""
    of_alerts, found = tuple(labels), frozenset(findings)
    counted = [(guide.applies(of_alerts, found, target, strategy), guide) for guide in guides]
    return tuple(guide for count, guide in sorted(counted, key=lambda pair: (-pair[0], pair[1].name)) if count)
