"""How far a caller's powers reach: environments, targets, and the highest risk."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated

from pydantic import Field

from uici.model.base import Frozen
from uici.model.call import Risk

ANY = "*"
Pattern = Annotated[str, Field(pattern=r"^[^\s,]{1,253}$", description="a name; `*` stands for any text, `?` for one")]


class Scope(Frozen):
    """What a caller may touch. As it is by default it has no limits.

    What belongs to no environment or no target (an alert that nobody has placed, a change of the configuration) is
    only within patterns that are `*`.
    """

    environments: tuple[Pattern, ...] = Field(default=(ANY,), min_length=1, max_length=100)
    targets: tuple[Pattern, ...] = Field(default=(ANY,), min_length=1, max_length=100)
    highest_risk: Risk = Field(default=Risk.DESTRUCTIVE, description="of a plan that the caller may start or approve")

    @property
    def everywhere(self) -> bool:
        """Whether every environment and every target is within, also what belongs to none."""
        return ANY in self.environments and ANY in self.targets

    def covers(self, environment: str | None, target: str | None) -> bool:
        """Whether this target in this environment is within."""
        return _among(self.environments, environment) and _among(self.targets, target)

    def enters(self, environment: str) -> bool:
        """Whether any target of this environment may be within."""
        return _among(self.environments, environment)

    def permits(self, risk: Risk) -> bool:
        """Whether a plan of this risk may be started or approved."""
        return risk.rank <= self.highest_risk.rank

    def __str__(self) -> str:
        limits = [] if self.everywhere else [f"environments {', '.join(self.environments)}"]
        limits += [] if self.everywhere else [f"targets {', '.join(self.targets)}"]
        limits += [] if self.highest_risk is Risk.DESTRUCTIVE else [f"risk up to {self.highest_risk}"]
        return "; ".join(limits) or "everything"


EVERYTHING = Scope()


def expression(patterns: tuple[str, ...]) -> str:
    """A regular expression for what the patterns match, which Python and PostgreSQL read alike."""
    one = "|".join(re.escape(each).replace(r"\*", ".*").replace(r"\?", ".") for each in patterns)
    return rf"^(?:{one})\Z"


@lru_cache(maxsize=4096)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(expression(patterns), re.DOTALL)


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Whether one of the patterns is this name."""
    return _compiled(patterns).match(name) is not None


def narrower(pattern: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns surely matches all that `pattern` matches."""
    if ANY in patterns or pattern in patterns:
        return True
    return not {"*", "?"} & set(pattern) and matches(patterns, pattern)


def _among(patterns: tuple[str, ...], name: str | None) -> bool:
    return ANY in patterns or (name is not None and matches(patterns, name))
