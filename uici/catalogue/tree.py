"""The files of a configuration as they lie on the disk: which count, whether they changed, and their digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from uici.catalogue.following import differing
from uici.catalogue.locations import GUIDES, shipped_config, shipped_operations, site_operations
from uici.catalogue.overlaying import FILES

Stamp: TypeAlias = tuple[int, int, int, int]
"""Device, inode, time of change in nanoseconds, size: of the file itself, wherever links lead."""

_UNKNOWN: Stamp = (0, 0, 0, 0)
_SUFFIXES = (".yml", ".yaml")


@dataclass(frozen=True, slots=True)
class Look:
    """What lay there at one moment, by path. Two equal looks mean that nothing was written between them."""

    documents: Mapping[str, Stamp]
    """The shipped files and all YAML of the site's folder: a name that is nearly right is a problem, too."""
    verbs: Mapping[str, Stamp]
    """One file for each added verb, in the order in which they count."""
    guides: Mapping[str, Stamp]
    """One file for each guide."""

    def __iter__(self) -> Iterator[tuple[str, Stamp]]:
        yield from self.documents.items()
        yield from self.verbs.items()
        yield from self.guides.items()


class Tree:
    """The shipped files and a site's folder over them."""

    def __init__(self, directory: Path | None, *, more: tuple[Path, ...] = ()) -> None:
        """`directory` is the site's folder; None means that only what is shipped counts. `more` are further verbs."""
        self.directory = directory
        self._more = more
        self._listed: dict[Path, dict[str, Stamp]] = {}
        self._hashed: dict[int, tuple[Mapping[str, Stamp], dict[str, bytes]]] = {}

    def look(self) -> Look:
        """What lies there now. A file or folder that is gone is simply not in it."""
        documents: dict[str, Stamp] = {}
        for name in FILES:
            path = os.path.join(shipped_config(), name)
            documents[path] = _stamp(path)
        if self.directory is not None:
            documents.update(self._of_folder(self.directory, _SUFFIXES))
        verbs: dict[str, Stamp] = {}
        for folder in self.verb_folders():
            verbs.update(self._of_folder(folder, (".yml",)))
        known = {os.path.realpath(path) for path in verbs} if self._more else ()
        verbs.update({str(path): _stamp(str(path)) for path in self._more if os.path.realpath(path) not in known})
        guides: dict[str, Stamp] = {}
        for folder in self.guide_folders():
            guides.update(self._of_folder(folder, (".md",)))
        return Look(documents, verbs, guides)

    def verb_folders(self) -> tuple[Path, ...]:
        """The folders that hold verbs: the shipped one, then the site's."""
        own = site_operations(self.directory) if self.directory is not None else ()
        return (shipped_operations(), *own)

    def guide_folders(self) -> tuple[Path, ...]:
        """The folders that hold guides: the shipped one, then the site's where it has one."""
        shipped = shipped_config() / GUIDES
        own = self.directory / GUIDES if self.directory is not None else shipped
        # Also what is no folder, or may not be looked at: loading says so.
        return (shipped, own) if os.path.lexists(own) and own.resolve() != shipped.resolve() else (shipped,)

    def is_own(self, guide: str) -> bool:
        """Whether this file of a guide is the site's, not one that ships."""
        return os.path.dirname(guide) != str(shipped_config() / GUIDES)

    def digest(self, look: Look) -> str:
        """Content hash of all files of `look`: their paths and what they hold. Reads only what changed since."""
        total = hashlib.sha256()
        for number, stamps in enumerate((look.documents, look.verbs, look.guides)):
            former, hashes = self._hashed.get(number, ({}, {}))
            changed = differing(stamps, former)
            if changed is None:
                hashes = {
                    path: hashes[path] if path in hashes and former[path] == stamp else _hash(path)
                    for path, stamp in stamps.items()
                }
            else:
                changed = [path for path in changed if former[path] != stamps[path]]
                hashes = hashes | {path: _hash(path) for path in changed}
            self._hashed[number] = (stamps, hashes)
            total.update(b"".join(hashes.values()))
        return "sha256:" + total.hexdigest()

    def _of_folder(self, folder: Path, suffixes: tuple[str, ...]) -> dict[str, Stamp]:
        """As `listed`; what is as it was at the last look is the same object as then."""
        found, known = listed(folder, suffixes), self._listed.get(folder, {})
        if found.keys() != known.keys():
            known = {path: found[path] for path in sorted(found)}
        else:
            written = {path: stamp for path, stamp in found.items() if known[path] != stamp}
            known = known | written if written else known
        self._listed[folder] = known
        return known


def _hash(path: str) -> bytes:
    content = hashlib.sha256(os.fsencode(path) + b"\0")
    try:
        with open(path, "rb") as stream:
            content.update(stream.read())
    except OSError as error:
        # What cannot be read is a problem that loading reports; here it is only told apart from other contents.
        content.update(f"unreadable: {error.errno}".encode())
    return content.digest()


def listed(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Stamp]:
    """The files of a folder whose names end so, as they lie there now; none where it cannot be looked into."""
    found: dict[str, Stamp] = {}
    # As pathlib writes it: of the folder `.` the entry's own path would begin with `./`.
    before = str(folder / "x")[:-1]
    try:
        # Relative to the opened folder, so that the kernel does not walk down to it for each of thousands of files.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if entry.name.endswith(suffixes):
                        try:
                            found[before + entry.name] = _of(entry.stat())
                        except OSError:
                            # A link that leads nowhere, for one: loading says so.
                            found[before + entry.name] = _UNKNOWN
        finally:
            os.close(descriptor)
    except OSError:
        # Gone, or not for us to see: loading says which.
        return {}
    return found


def _stamp(path: str) -> Stamp:
    try:
        return _of(os.stat(path))
    except OSError:
        return _UNKNOWN


def _of(status: os.stat_result) -> Stamp:
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
