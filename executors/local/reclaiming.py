"""Room on this machine's disk: old regular files under folders that a binding names, and nothing else."""

from __future__ import annotations

import fnmatch
import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from uici.model.base import Frozen, JsonObject
from uici.model.call import CallError, FailureKind, Happened

_WILD = frozenset("*?[")
_BLOCK_BYTES = 512  # the unit of st_blocks, by POSIX
_ANY_DEPTH = "**"


def _sound_glob(value: str) -> str:
    parts = value.split("/")
    if "\0" in value or not value.startswith("/") or value.endswith("/"):
        raise ValueError("a glob is an absolute path to files, such as /var/cache/shop/**/*.tmp")
    if any(part in ("", ".", "..") for part in parts[1:]):
        raise ValueError("a glob has no empty part, no `.` and no `..`")
    if any(_ANY_DEPTH in part and part != _ANY_DEPTH for part in parts):
        raise ValueError("`**` stands alone between two slashes")
    if len(_root(value)) < 2:
        raise ValueError("a glob begins with at least two folders without wildcards, such as /var/cache")
    return value


Glob = Annotated[str, Field(max_length=4096), AfterValidator(_sound_glob)]


class Reclaim(Frozen):
    """Which files may be deleted to make room."""

    globs: tuple[Glob, ...] = Field(
        min_length=1,
        max_length=50,
        description="absolute; *, ?, [..] within a name, ** for folders of any depth. What comes before the first "
        "wildcard is the root that is never left",
    )
    older_than_seconds: float = Field(ge=0, description="since a file was last written")


@dataclass(frozen=True)
class Kept:
    """What is never deleted, whatever a glob says."""

    files: frozenset[tuple[int, int]]
    """Device and inode of UICI's state, by which it is known under any name."""
    prefixes: tuple[str, ...]
    """Paths of UICI's state; a database's journal lies beside it, with a longer name."""
    folders: tuple[str, ...]

    @classmethod
    def of(cls, state_paths: frozenset[str], folders: tuple[str, ...]) -> Kept:
        """UICI's state files and the folders that it owns."""
        real = [os.path.realpath(path) for path in sorted(state_paths)]
        files = set()
        for path in real:
            with suppress(OSError):
                found = os.stat(path)
                files.add((found.st_dev, found.st_ino))
        return cls(frozenset(files), tuple(real), tuple(os.path.realpath(folder) for folder in folders if folder))

    def holds(self, path: str, found: os.stat_result) -> bool:
        """Whether the file at `path` is one of them."""
        return (
            (found.st_dev, found.st_ino) in self.files
            or path.startswith(self.prefixes)
            or any(path.startswith(f"{folder}/") for folder in self.folders)
        )


def reclaim(wanted: Reclaim, kept: Kept, deadline: float) -> JsonObject:
    """Delete the files. Raises CallError: TEMPORARY `reclaim_timeout` when time was not enough, and some may be gone;
    PERMANENT, with nothing deleted, for a root that is a symbolic link or may not be looked into.
    """
    for glob in wanted.globs:
        with ExitStack() as opened:
            _opened(_root(glob), opened)  # all of them are sound, or nothing is deleted
    removed = freed = failed = 0
    for folder, name, _, found in _files(wanted, kept, time.time() - wanted.older_than_seconds):
        if time.monotonic() > deadline:
            raise CallError(
                FailureKind.TEMPORARY,
                "reclaim_timeout",
                f"{removed} files were deleted and there are more; what is gone stays gone, so it may be done again",
            )
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            continue
        except OSError:
            failed += 1
            continue
        removed += 1
        # Another name for the same content keeps its room.
        freed += found.st_blocks * _BLOCK_BYTES if found.st_nlink == 1 else 0
    return {"reclaimed_bytes": freed, "removed": removed, "failed": failed}


def remember(wanted: Reclaim) -> JsonObject:
    """What a proof compares with: files written before this moment were meant."""
    return {"before": time.time() - wanted.older_than_seconds}


def prove(wanted: Reclaim, kept: Kept, before: JsonObject) -> Happened:
    """Whether none of the files that were meant is left. NO may be sent again: what is gone cannot go twice."""
    moment = before.get("before")
    if not isinstance(moment, int | float):
        return Happened.UNKNOWN
    return Happened.NO if next(_files(wanted, kept, float(moment)), None) is not None else Happened.YES


def _files(wanted: Reclaim, kept: Kept, written_before: float) -> Iterator[tuple[int, str, str, os.stat_result]]:
    """Open folder, name, path and status of each regular file that is meant."""
    for glob in wanted.globs:
        root = _root(glob)
        with ExitStack() as opened:
            folder = _opened(root, opened)
            if folder is None:
                continue
            parts = tuple(glob.split("/")[1 + len(root) :])
            for at, name, path, found in _matching(folder, parts, "/" + "/".join(root)):
                if found.st_mtime <= written_before and not kept.holds(path, found):
                    yield at, name, path, found


def _opened(root: tuple[str, ...], opened: ExitStack) -> int | None:
    """The root folder, reached without following a symbolic link; None when it is not there.

    Raises CallError(PERMANENT): `root_is_a_link`, `root_not_readable`.
    """
    folder = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    opened.callback(os.close, folder)
    for number, part in enumerate(root, start=1):
        try:
            if stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode):
                path = "/" + "/".join(root[:number])
                raise CallError(
                    FailureKind.PERMANENT,
                    "root_is_a_link",
                    f"{path} is a symbolic link, which is not followed; write {os.path.realpath(path)} in the binding",
                )
            folder = _folder(part, folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError:
            path = "/" + "/".join(root[:number])
            raise CallError(
                FailureKind.PERMANENT, "root_not_readable", f"UICI may not look into {path}; let its user read it"
            ) from None
        opened.callback(os.close, folder)
    return folder


def _folder(name: str, above: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)


def _matching(folder: int, parts: tuple[str, ...], path: str) -> Iterator[tuple[int, str, str, os.stat_result]]:
    part, below = parts[0], parts[1:]
    if part == _ANY_DEPTH and below:
        yield from _matching(folder, below, path)
    for name in sorted(os.listdir(folder)):
        # As a shell has it, a wildcard stands for no hidden name.
        if name.startswith(".") and not part.startswith("."):
            continue
        if part != _ANY_DEPTH and not fnmatch.fnmatchcase(name, part):
            continue
        with suppress(OSError):  # gone or changed since it was listed, or not ours to look at
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and not below:
                yield folder, name, f"{path}/{name}", found
            elif stat.S_ISDIR(found.st_mode) and (below or part == _ANY_DEPTH):
                inner = _folder(name, folder)
                try:
                    again = parts if part == _ANY_DEPTH else below
                    yield from _matching(inner, again, f"{path}/{name}")
                finally:
                    os.close(inner)


def _root(glob: str) -> tuple[str, ...]:
    """The folders before the first wildcard; the last part is always a file's name."""
    parts = glob.split("/")[1:]
    wild = next((number for number, part in enumerate(parts) if _WILD & set(part)), len(parts) - 1)
    return tuple(parts[:wild])
