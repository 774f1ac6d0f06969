"""Which verb works on which platform, and why not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from uici.catalogue.draft import KNOWN_PLATFORMS
from uici.model.base import JsonObject
from uici.model.operation import BUILTIN, Operation
from uici.model.site import Site

NOT_WRITTEN = "no translation is written"


@dataclass(frozen=True, slots=True)
class Coverage:
    """The verbs with, for each platform, an empty text where they work, else the reason why they do not."""

    platforms: tuple[str, ...]
    gaps: dict[str, dict[str, str]]

    def as_json(self) -> JsonObject:
        """For scripts."""
        return {
            "platforms": list(self.platforms),
            "operations": [
                {
                    "name": name,
                    "platforms": {
                        platform: {"supported": not why, **({"because": why} if why else {})}
                        for platform, why in by_platform.items()
                    },
                }
                for name, by_platform in self.gaps.items()
            ],
            "covered": {
                platform: sum(not by_platform[platform] for by_platform in self.gaps.values())
                for platform in self.platforms
            },
        }

    def rows(self) -> list[JsonObject]:
        """For a table: `yes` or `no`."""
        return [
            {"name": name, **{platform: "no" if why else "yes" for platform, why in by_platform.items()}}
            for name, by_platform in self.gaps.items()
        ]

    def reasons(self) -> list[tuple[str, str, str]]:
        """Verb, platform and reason of each gap."""
        return [
            (name, platform, why)
            for name, by_platform in self.gaps.items()
            for platform, why in by_platform.items()
            if why
        ]

    def markdown(self) -> str:
        """The table, and below it the reasons."""
        head = ["verb", *self.platforms]
        lines = [_row(head), _row(["---"] * len(head))]
        lines += [
            _row([f"`{row['name']}`", *(str(row[platform]) for platform in self.platforms)]) for row in self.rows()
        ]
        shared: dict[tuple[str, str], list[str]] = {}
        for name, platform, why in self.reasons():
            shared.setdefault((platform, why), []).append(f"`{name}`")
        if shared:
            lines += ["", "| not on | because | verbs |", "|---|---|---|"]
            for (platform, why), names in sorted(shared.items()):
                lines.append(_row([platform, why.replace("|", "\\|"), ", ".join(names)]))
        return "\n".join(lines) + "\n"


def coverage_of(site: Site, platforms: Iterable[str]) -> Coverage:
    """All verbs of `site` over `platforms`, the known ones first and in their order."""
    wanted = set(platforms)
    ordered = [*(each for each in KNOWN_PLATFORMS if each in wanted), *sorted(wanted - set(KNOWN_PLATFORMS))]
    gaps = {
        name: {platform: _gap(operation, platform) for platform in ordered}
        for name, operation in sorted(site.operations.items())
    }
    return Coverage(tuple(ordered), gaps)


def _gap(operation: Operation, platform: str) -> str:
    if BUILTIN in operation.translations:
        return ""
    translation = operation.translations.get(platform)
    return NOT_WRITTEN if translation is None else translation.unsupported or ""


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
