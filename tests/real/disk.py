"""A disk that a test may fill up."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_MEBIBYTE = 1_048_576


class SmallDisk:
    """A file system of its own, small enough to be filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Until not one more byte fits."""
        with self._ballast.open("ab", buffering=0) as file:
            for size in (_MEBIBYTE, 4096, 1):
                while self._fits(file, size):
                    pass

    @staticmethod
    def _fits(file: IO[bytes], size: int) -> bool:
        try:
            return bool(file.write(b"\0" * size))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return False

    def free(self) -> None:
        """There is room again."""
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, size: str = "64m") -> Iterator[SmallDisk]:
    """A small disk, mounted at `folder`; needs the component `tmpfs`."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=1777", "uici-test", str(folder)], check=True)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
