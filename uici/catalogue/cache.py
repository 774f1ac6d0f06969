"""Checked sites kept on the disk, so that thousands of unchanged verbs need not be read and checked at every start.

Kept is JSON, never anything that is executed. A file counts only when it is whole, ours alone, and written for exactly
this content by exactly this code; any other is as good as none, and is written anew.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import structlog
from pydantic import ValidationError

import uici
from uici.catalogue.diagnostics import Position
from uici.catalogue.draft import Verb
from uici.catalogue.verbs import later_body
from uici.model.base import Frozen, canonical_json
from uici.model.operation import Operation
from uici.model.site import Site, VerbTest
from uici.ports import Executor

_log = structlog.get_logger(__name__)

_FORMAT = 1
_CHECKSUM = 64
"""Bytes at the end of a file: SHA-256 of all before them, in hexadecimal digits."""
_MOST_FILES = 8
"""Sites kept for one user; the one that was written longest ago goes first."""


class _Head(Frozen):
    format: int
    key: str
    default_environment: str
    """As written, `auto` included: where UICI runs is found out at each start."""
    site: Site
    """Without operations and tests, which follow line by line."""


class _Line(Frozen):
    key: tuple[str, int, int]
    translations: dict[str, tuple[str, int, int]]
    operation: Operation
    tests: tuple[VerbTest, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A checked site: all verbs passed their own tests when it was kept."""

    site: Site
    default_environment: str
    verbs: Mapping[str, Verb]


def cache_folder() -> Path:
    """The user's cache folder (https://specifications.freedesktop.org/basedir-spec/latest/)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uici"


class SiteCache:
    """One file for each configuration folder."""

    def __init__(self, folder: Path, directory: Path | None, executors: Mapping[str, type[Executor]]) -> None:
        """`directory` is the site's folder; `executors` are those that checked it."""
        name = hashlib.sha256(os.fsencode(directory.absolute() if directory is not None else "")).hexdigest()
        self.path = folder / f"catalogue-{name[:32]}.jsonl"
        self._executors = executors

    def key(self, digest: str) -> str:
        """What a kept site must have been written for: this content, and this code."""
        total = hashlib.sha256(f"{_FORMAT} {version('uici')} {sys.version_info[:2]} {digest}\n".encode())
        folders = {Path(uici.__file__).parent}
        for platform, executor in sorted(self._executors.items()):
            published = {
                "platform": platform,
                "calls": {name: spec.model_dump(mode="json") for name, spec in executor.call_specs.items()},
                "settings": executor.settings_model.model_json_schema(),
                "binding": executor.binding_model.model_json_schema(),
            }
            total.update(canonical_json(published).encode())
            source = getattr(sys.modules.get(executor.__module__), "__file__", None)
            folders |= {Path(source).parent} if source is not None else set()
        for folder in sorted(folders):
            for path in sorted(folder.rglob("*.py")):
                status = path.stat()
                total.update(f"{path} {status.st_mtime_ns} {status.st_size}\n".encode())
        return total.hexdigest()

    def read(self, key: str) -> Kept | None:
        """What was kept for `key`; None when there is nothing, or nothing that may be trusted."""
        try:
            with self.path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                    _log.warning("catalogue_cache_refused", path=str(self.path), reason="others may write or read it")
                    return None
                if not _is_whole(stream, status.st_size):
                    return None
                # Line by line: the whole file beside all that is made of it would double the memory.
                head = _Head.model_validate_json(stream.readline())
                if head.format != _FORMAT or head.key != key:
                    return None
                verbs = {verb.name: verb for verb in map(verb_of, _until(stream, status.st_size - _CHECKSUM))}
        except (OSError, ValidationError):
            return None
        site = head.site.model_copy(
            update={
                "operations": {name: verb.operation for name, verb in verbs.items()},
                "verb_tests": {name: verb.tests for name, verb in verbs.items() if verb.tests},
            }
        )
        return Kept(site, head.default_environment, verbs)

    def write(self, key: str, kept: Kept) -> None:
        """Keep a site. That it cannot be kept is no problem: then the next start takes longer."""
        bare = kept.site.model_copy(update={"operations": {}, "verb_tests": {}})
        head = _Head.model_construct(format=_FORMAT, key=key, default_environment=kept.default_environment, site=bare)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Made with mode 0600.
            descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=".catalogue-")
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    total = hashlib.sha256()
                    for line in _lines(head, kept.verbs.values()):
                        total.update(line)
                        stream.write(line)
                    stream.write(total.hexdigest().encode())
                os.replace(temporary, self.path)
            except BaseException:
                os.unlink(temporary)
                raise
            self._forget_old()
        except OSError as error:
            _log.info("catalogue_not_cached", path=str(self.path), reason=error.strerror or str(error))

    def _forget_old(self) -> None:
        files = sorted(self.path.parent.glob("catalogue-*.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in files[_MOST_FILES:]:
            path.unlink(missing_ok=True)


def _is_whole(stream: BinaryIO, size: int) -> bool:
    """Whether the file ends with the checksum of all before it; leaves the stream at its beginning."""
    total = hashlib.sha256()
    left = size - _CHECKSUM
    while left > 0 and (part := stream.read(min(left, 1 << 20))):
        total.update(part)
        left -= len(part)
    written = stream.read(_CHECKSUM + 1)
    stream.seek(0)
    return left == 0 and written == total.hexdigest().encode()


def _until(stream: BinaryIO, end: int) -> Iterator[bytes]:
    while stream.tell() < end:
        yield stream.readline()


def _lines(head: _Head, verbs: Iterable[Verb]) -> Iterator[bytes]:
    yield head.model_dump_json(exclude_unset=True).encode() + b"\n"
    yield from map(verb_line, verbs)


def verb_line(verb: Verb) -> bytes:
    """One sound verb as one line of JSON. Raises ValueError for an unsound one."""
    if verb.operation is None:
        raise ValueError(f"{verb.name} is unsound; only sound ones are kept")
    line = _Line.model_construct(
        key=verb.key, translations=dict(verb.translations), operation=verb.operation, tests=verb.tests
    )
    return line.model_dump_json(exclude_unset=True).encode() + b"\n"


def verb_of(text: bytes) -> Verb:
    """The verb of a line that `verb_line` made. Raises ValidationError."""
    line = _Line.model_validate_json(text)
    key = Position(*line.key)
    return Verb(
        name=line.operation.name,
        key=key,
        node=later_body(key),
        translations={platform: Position(*place) for platform, place in line.translations.items()},
        operation=line.operation,
        tests=line.tests,
    )
