"""A site's tree over the shipped defaults. Nodes are combined, not values, so that positions survive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from uici.catalogue.diagnostics import Report
from uici.catalogue.reading import Node, kind_of


@dataclass(frozen=True, slots=True)
class Section:
    """One named section of a file: how deep entries are combined before one replaces the other."""

    name: str
    depth: int
    """1: entries of the same name replace each other as a whole; 2: their entries do, and so on."""
    site_first: bool = False
    """Whether the site's entries come first in order, and so win where order decides."""


FILES: dict[str, tuple[Section, ...]] = {
    "platform.yml": (
        Section("service", 8),
        Section("intake", 8),
        Section("runs", 8),
        Section("notify", 8),
        Section("catalogue", 8),
        Section("records", 8),
        Section("self", 8),
    ),
    "environments.yml": (Section("environments", 1, site_first=True),),
    "targets.yml": (Section("targeting", 1), Section("targets", 1)),
    "operations.yml": (Section("operations", 1),),
    "command_translations.yml": (Section("translations", 2),),
    "findings.yml": (Section("findings", 1),),
    "strategies.yml": (Section("strategies", 1, site_first=True),),
    "policies.yml": (
        Section("risk", 8),
        Section("cooldown", 8),
        Section("give_up", 8),
        Section("blast_radius", 8),
        Section("approval", 8),
    ),
}
"""Every file of a configuration tree, with the sections that a site's entries are combined with."""

REMOVABLE = frozenset({"environments", "targets", "operations", "translations", "findings", "strategies"})


def overlay(combined: Iterable[Section], shipped: Node, site: Node, report: Report) -> Node:
    """A site's document over the shipped one. In sections of named entries `null` removes one."""
    sections = {section.name: section for section in combined}
    merged = Node(site.position, dict(shipped.mapping), dict(shipped.keys))
    for key, node in site.mapping.items():
        section = sections.get(key)
        below = shipped.mapping.get(key)
        if section is not None and node.value is None:
            continue  # `targets:` with everything below it commented out
        if section is not None and not isinstance(node.value, dict):
            report.add(node.position, "wrong_type", f"{key} must be a mapping, not {kind_of(node.value)}")
            continue
        if section is None or below is None or not isinstance(below.value, dict):
            merged.mapping[key], merged.keys[key] = node, site.keys[key]
            continue
        merged.mapping[key] = _combine(below, node, section.depth, section, report)
        merged.keys[key] = site.keys[key]
    return merged


def _combine(shipped: Node, site: Node, depth: int, section: Section, report: Report) -> Node:
    entries, keys = dict(shipped.mapping), dict(shipped.keys)
    own: dict[str, Node] = {}
    for key, node in site.mapping.items():
        below = entries.get(key)
        if node.value is None and section.name in REMOVABLE:
            if below is None:
                report.add(
                    site.keys[key],
                    "nothing_to_remove",
                    f"{section.name} has no shipped entry {key!r} that null could remove",
                    choices=shipped.mapping,
                    given=key,
                )
            entries.pop(key, None)
            continue
        both = below is not None and isinstance(below.value, dict) and isinstance(node.value, dict)
        combined = _combine(below, node, depth - 1, section, report) if below and both and depth > 1 else node
        keys[key] = site.keys[key]
        if section.site_first:
            entries.pop(key, None)
            own[key] = combined
        else:
            entries[key] = combined
    return Node(site.position, {**own, **entries}, keys)
