"""The files of a configuration as they lie on the disk: which count, whether they changed, and their digest."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from uici.catalogue.locations import shipped_config, shipped_operations, site_operations
from uici.catalogue.overlaying import FILES

Stamp: TypeAlias = tuple[int, int, int, int]
"""Device, inode, time of change in nanoseconds, size: of the file itself, wherever links lead."""

Look: TypeAlias = Mapping[str, Stamp]
"""Every file that counts, by path. Two equal looks mean that nothing was written between them."""

_SUFFIXES = (".yml", ".yaml")


class Tree:
    """The shipped files and a site's folder over them."""

    def __init__(self, config_dir: Path | None) -> None:
        self.directory = config_dir
        self._hashed: dict[str, tuple[Stamp, bytes]] = {}

    def look(self) -> Look:
        """What lies there now. A folder or file that is gone is simply not in it."""
        found: dict[str, Stamp] = {}
        shipped = shipped_config()
        for name in FILES:
            _add(found, os.path.join(shipped, name))
        if self.directory is not None:
            # All YAML, since a name that is nearly right is a problem of the site's.
            found.update(_listed(self.directory))
        for folder in self.verb_folders():
            found.update(_listed(folder))
        return found

    def verb_folders(self) -> Iterator[Path]:
        """The folders that hold verbs: the shipped one, then the site's."""
        yield shipped_operations()
        if self.directory is not None:
            yield from site_operations(self.directory)

    def digest(self, look: Look) -> str:
        """Content hash of all files of `look`: their paths and what they hold. Reads only what changed since."""
        total = hashlib.sha256()
        hashed: dict[str, tuple[Stamp, bytes]] = {}
        for path in sorted(look):
            kept = self._hashed.get(path)
            if kept is None or kept[0] != look[path]:
                kept = (look[path], _hash(path))
            hashed[path] = kept
            total.update(os.fsencode(path) + b"\0" + kept[1])
        self._hashed = hashed
        return "sha256:" + total.hexdigest()


def _hash(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        # What cannot be read is a problem that loading reports; here it is only told apart from other contents.
        return f"unreadable: {error.errno}".encode()


def _listed(folder: Path) -> Iterable[tuple[str, Stamp]]:
    found: dict[str, Stamp] = {}
    try:
        entries = os.scandir(folder)
    except OSError:
        return ()
    with entries:
        for entry in entries:
            if entry.name.endswith(_SUFFIXES):
                _add(found, entry)
    return found.items()


def _add(found: dict[str, Stamp], entry: str | os.DirEntry[str]) -> None:
    try:
        status = os.stat(entry) if isinstance(entry, str) else entry.stat()
    except OSError:
        # Gone since, or a link that leads nowhere: loading says so if it matters.
        return
    if stat.S_ISREG(status.st_mode):
        found[os.fspath(entry)] = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
