"""Reading thousands of files of verbs with all processors.

A process of its own reads each share. What is sound comes back as the cache keeps it, so that a verb which was read
there is the one that the next start restores; every other file is read here, where what is wrong with it is reported.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable, Sequence
from typing import IO

from uici.catalogue.cache import verb_line, verb_of
from uici.catalogue.draft import Verb
from uici.catalogue.verbs import Executors, Translations, VerbReading, read_verb_file
from uici.model.base import share_field_sets

_WORTH_SHARING = 1000
"""Files. Fewer are read before another process has begun."""
_MOST_PROCESSES = 8

Files = Sequence[tuple[str, Translations]]
"""Paths, with what command_translations.yml adds to the verb of each."""


def read_verb_files(files: Files, executors: Executors) -> dict[str, VerbReading]:
    """The readings of all these files, as `read_verb_file` has them."""
    # A process that is made of one with several threads may inherit the locks that the others hold.
    alone = len(files) < _WORTH_SHARING or threading.active_count() > 1
    processes = 1 if alone else min(_MOST_PROCESSES, len(os.sched_getaffinity(0)))
    helped = [_begun(files[number::processes], executors) for number in range(1, processes)]
    found = {path: read_verb_file(path, executors, tabled) for path, tabled in files[::processes]}
    for number, (process, answers) in enumerate(helped, 1):
        with answers:
            done = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
            answers.seek(0)
            ready = dict(_read_back(answers)) if done else {}
        for path, tabled in files[number::processes]:
            verb = ready.get(path)
            found[path] = VerbReading(verb, tabled) if verb is not None else read_verb_file(path, executors, tabled)
    return found


def _begun(files: Files, executors: Executors) -> tuple[int, IO[bytes]]:
    """A process that reads these files, and the file in which its answers are once it has ended."""
    answers = tempfile.TemporaryFile()
    process = os.fork()
    if process == 0:
        status = 1
        try:
            answers.writelines(_answers(files, executors))
            answers.flush()
            status = 0
        finally:
            # Whatever it was, it happens again where the files are read instead.
            os._exit(status)
    return process, answers


def _answers(files: Files, executors: Executors) -> Iterable[bytes]:
    for path, tabled in files:
        verb = read_verb_file(path, executors, tabled).verb
        if verb is not None and verb.operation is not None and not verb.diagnostics:
            yield verb_line(verb)


def _read_back(answers: Iterable[bytes]) -> Iterable[tuple[str, Verb]]:
    for line in answers:
        verb = verb_of(line)
        if verb.operation is not None:
            share_field_sets((verb.operation, *verb.tests))
        yield verb.key.file, verb
