"""Operations as people see them: one row of a list, or one whole."""

from __future__ import annotations

from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind, did_you_mean
from uici.model.site import Site


def listed_operations(site: Site) -> list[JsonObject]:
    """All verbs by name, without their translations."""
    return [
        {
            "name": name,
            "summary": operation.summary,
            "risk": operation.risk,
            "mutates": operation.mutates,
            "reversible": operation.reversible,
            "platforms": sorted(key for key, item in operation.translations.items() if not item.unsupported),
        }
        for name, operation in sorted(site.operations.items())
    ]


def shown_operation(site: Site, name: str) -> JsonObject:
    """One verb, complete. Raises Problem (NOT_FOUND)."""
    known = site.operations
    if name not in known:
        raise Problem(
            ProblemKind.NOT_FOUND, "unknown_operation", f"there is no operation {name!r}{did_you_mean(name, known)}"
        )
    return known[name].model_dump(mode="json", exclude_none=True)


def counted(site: Site) -> str:
    """How much there is of everything, in words."""
    counts = {
        "environment": len(site.environments),
        "target": len(site.targets),
        "operation": len(site.operations),
        "strategy": len(site.strategies),
        "finding": len(site.findings),
        "guide": len(site.guides),
        "verb test": sum(len(tests) for tests in site.verb_tests.values()),
    }
    return ", ".join(f"{count} {one if count == 1 else _plural(one)}" for one, count in counts.items())


def _plural(word: str) -> str:
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
