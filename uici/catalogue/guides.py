"""The guides of a site: Markdown files with a head in YAML, the site's over those that ship."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from uici.catalogue.diagnostics import Diagnostic, Position, Report
from uici.catalogue.draft import Draft
from uici.catalogue.reading import Node, empty, is_readable, read_bytes
from uici.catalogue.shapes import parse
from uici.catalogue.tree import Stamp, Tree
from uici.model.guide import MAX_BYTES, NAME, Guide, GuideHead
from uici.model.site import FIRES_WHILE_HEALTHY

_ONE = {"findings": "finding", "strategies": "strategy", "targets": "target"}
_LINE = re.compile(rb"(?m)^---[ \t]*\r?$\n?")


@dataclass(frozen=True, slots=True)
class _Reading:
    """One file by itself."""

    node: Node
    guide: Guide | None
    nothing: bool
    """An empty file: of the site's it takes the shipped guide of its name away."""
    diagnostics: tuple[Diagnostic, ...]


class Guides:
    """Reads what changed since the last time."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._files: dict[str, tuple[Stamp, _Reading]] = {}

    def load(self, stamps: Mapping[str, Stamp], draft: Draft, report: Report) -> dict[str, Guide]:
        """All guides by name; what is wrong with them is reported."""
        for folder in self._tree.guide_folders():
            is_readable(folder, report)
        former, self._files = self._files, {}
        shipped: dict[str, _Reading] = {}
        own: dict[str, _Reading] = {}
        for path, stamp in stamps.items():
            name = os.path.basename(path).removesuffix(".md")
            if name.startswith("."):
                continue  # what editors put beside a file while it is edited
            kept = former.get(path)
            if kept is None or kept[0] != stamp:
                kept = (stamp, _read(Path(path), name))
            self._files[path] = kept
            report.extend(kept[1].diagnostics)
            (own if self._tree.is_own(path) else shipped)[name] = kept[1]
        _removals(own, shipped, report)
        # A site may take away what a shipped guide names: nothing is wrong with the site then.
        checked = (own if self._tree.directory is not None else shipped).values()
        _check_names(((each.guide, each.node) for each in checked if each.guide is not None), draft, report)
        return {name: reading.guide for name, reading in sorted((shipped | own).items()) if reading.guide is not None}


def read_guides(paths: Iterable[str], report: Report) -> dict[str, Guide]:
    """The guides in these files by name, each by itself: whether what their heads name exists is not looked at."""
    found: dict[str, Guide] = {}
    for path in sorted(paths):
        name = os.path.basename(path).removesuffix(".md")
        if not name.startswith("."):
            reading = _read(Path(path), name)
            report.extend(reading.diagnostics)
            if reading.guide is not None:
                found[name] = reading.guide
    return found


def _read(path: Path, name: str) -> _Reading:
    report = Report()
    head, text = empty(str(path)), ""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        report.add(Position(str(path)), "unreadable_file", f"cannot be read: {error.strerror or error}")
        return _Reading(head, None, False, tuple(report))
    if not data.strip():
        return _Reading(head, None, True, ())
    if re.fullmatch(NAME, name) is None:
        report.add(Position(str(path)), "wrong_name", f"{name!r} is no name for a guide: it must match {NAME}")
    found = _split(data, path, report)
    if found is not None:
        head, text = found
        parsed = parse(GuideHead, head, report)
        if parsed is not None and not report:
            return _Reading(head, Guide(**dict(parsed), name=name, text=text), False, ())
    return _Reading(head, None, False, tuple(report))


def _split(data: bytes, path: Path, report: Report) -> tuple[Node, str] | None:
    """The head's node, whose positions are those in the file, and the text below it."""
    where = Position(str(path))
    if len(data) > MAX_BYTES:
        report.add(
            where, "file_too_large", f"is larger than the {MAX_BYTES} bytes allowed for one guide; make several of it"
        )
        return None
    data = data.removeprefix(b"\xef\xbb\xbf")
    first = _LINE.match(data)
    last = _LINE.search(data, first.end()) if first is not None else None
    if first is None or last is None:
        report.add(
            where,
            "no_head",
            "a guide begins with a line `---`, YAML with at least `title: …`, and another line `---`; "
            + ("the first line is another" if first is None else "the second such line is missing"),
        )
        return None
    # The first line stays, as an empty one, so that lines count as in the file.
    head = read_bytes(b"\n" + data[first.end() : last.start()], str(path), report)
    try:
        text = data[last.end() :].decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, last.end() + error.start) + 1
        report.add(Position(str(path), line), "not_utf8", "the text is not UTF-8; save the file as UTF-8")
        return None
    return None if head is None else (head, text.replace("\r\n", "\n"))


def _removals(own: Mapping[str, _Reading], shipped: Mapping[str, _Reading], report: Report) -> None:
    for name, reading in own.items():
        if reading.nothing and name not in shipped:
            report.add(
                reading.node.position,
                "nothing_to_remove",
                f"is empty, which takes the shipped guide of this name away; but no shipped guide is called {name!r}",
                choices=sorted(shipped),
                given=name,
            )


def _check_names(guides: Iterable[tuple[Guide, Node]], draft: Draft, report: Report) -> None:
    # A site may have thousands of targets, and a folder hundreds of guides.
    known = {
        "findings": frozenset((*draft.finding_entries.names, FIRES_WHILE_HEALTHY)),
        "strategies": frozenset(draft.strategy_entries.names),
        "targets": frozenset(draft.target_entries.names),
    }
    for guide, node in guides:
        named = {"findings": guide.findings, "strategies": guide.strategies, "targets": guide.targets}
        for key, names in named.items():
            for index, name in enumerate(names):
                if name not in known[key] and not (key == "targets" and {"*", "?"} & set(name)):
                    what = _ONE[key]
                    report.add(
                        node.at(key, index).position,
                        f"unknown_{what}",
                        f"no {what} is called {name!r}",
                        choices=sorted(known[key]),
                        given=name,
                    )
