"""The right to run the engine on one state: one process at a time."""

from __future__ import annotations

import fcntl
import os
from typing import IO

from uici.model.errors import Problem, ProblemKind
from uici.store.copies import private
from uici.store.database import Store


class Lease:
    """The right to run the engine on one state file: an exclusive lock that the kernel drops when we die.

    A state that several processes may share needs none: see `uici.runs.workers`.
    """

    def __init__(self, store: Store) -> None:
        self._path = store.path.with_name(store.path.name + ".lock") if store.path is not None else None
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Raises Problem when another process has it: two engines on one file would do things twice."""
        if self._path is None:
            return
        file = open(self._path, "a+", opener=private)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            raise Problem(
                ProblemKind.CONFLICT,
                "state_in_use",
                f"another UICI process{f' ({holder})' if holder else ''} runs on this state",
                where=str(self._path),
                hint="stop it first, or give this one another --state; one SQLite state serves one process; "
                "several share a PostgreSQL one",
            ) from None
        file.truncate(0)
        file.write(f"pid {os.getpid()}\n")
        file.flush()
        self._file = file

    def drop(self) -> None:
        """Give it back."""
        if self._file is not None:
            self._file.close()
            self._file = None
