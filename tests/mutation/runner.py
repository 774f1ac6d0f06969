"""Runs tests against mutants: `python -m tests.mutation.runner OUT PREFIX,… TESTFILE…` writes what survived as JSON.

The tests are collected once. A first child runs them as they are and notes which test reaches which line; then each
mutant gets a child of its own, forked from the collected session, that runs the tests which reach what it changes until
one fails. A mutant that no test reaches, or under which all pass, has survived. What noticed one
is run once more without it, for it might fail by itself. Which test failed without any mutant, and why, is told.
"""

from __future__ import annotations

import ast
import ctypes
import gc
import json
import mmap
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import psutil
import pytest

from tests.mutation.mutants import Mutant, mutants, put_in_force
from uici.catalogue.executors import discover_executors

_SHOW = "UICI_MUTATION_SHOW"
"""Set in the environment: what the children write is shown."""
_CHILD_SECONDS = 60.0
_ATTEMPTS = 3
"""At what has to pass: some of it talks to real processes, on a machine that others load."""
_AT_ONCE = 2
_COUNT_BYTES = 4
_WHY_CHARACTERS = 2000
_PR_SET_CHILD_SUBREAPER = 36
_KILLED, _BROKEN = 1, 3
"""How a child ends: a test failed, or the mutant could not be put in force. Zero: all its tests passed."""


Trace = Callable[[FrameType, str, Any], Any]
"""What `sys.settrace` takes."""


@dataclass(frozen=True)
class Trial:
    """How a child ended, and which tests it began: the last is the one that noticed, when one did."""

    mutant: Mutant
    ran: list[int]
    code: int


class Mutation:
    """A pytest plugin in the place of the loop over the tests."""

    def __init__(self, prefixes: tuple[str, ...], out: Path) -> None:
        self._mutants = [item for item in mutants() if item.place.file.startswith(prefixes)]
        self._out = out
        self._reach: dict[tuple[str, int], list[tuple[float, int]]] = {}
        self._failed = out.with_suffix(".failed")
        """Beside the result: the last test that failed without a mutant, and why."""
        self._tells = False

    def pytest_collection_finish(self) -> None:
        discover_executors()  # once, instead of by each child that makes an application
        if os.environ.get("UICI_TEST_DOCKER_HOST"):
            from tests.real.docker import DockerEngine  # here, because pytest wants to import that module itself

            # The engine is that of the tests which started this, and has the images.
            setattr(DockerEngine, "make_images", lambda *_: None)  # noqa: B010  # not again for each child

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """With a mutant nobody reads why a test failed, and to say so takes longer than the test."""
        if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
            if os.environ.get(_SHOW):
                traceback.print_exception(call.excinfo.value)
            if self._tells:
                why = str(item.repr_failure(call.excinfo))[-_WHY_CHARACTERS:]
                self._failed.write_text(f"{item.nodeid} ({call.when}):\n{why}")
            _leave(_KILLED)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise pytest.UsageError("the tests cannot be collected")
        map_file = self._out.with_suffix(".map")
        for _ in range(_ATTEMPTS):
            if _ended(_forked(partial(self._as_it_is, session, map_file))) == 0:
                break
        else:
            raise pytest.UsageError(f"the tests fail without any mutant\n{self._why()}")
        self._reach = {
            (path, line): [(cost, item) for cost, item in tests]
            for path, line, tests in json.loads(map_file.read_text())
        }
        # What exists now stays: the children need not look through it, nor copy it.
        gc.freeze()
        gc.disable()
        ended = self._all(session, [(item, self._items(item)) for item in self._mutants], control=False)
        if unusable := [trial.mutant for trial in ended if trial.code == _BROKEN]:
            raise pytest.UsageError(f"this mutant cannot be made: {unusable[0]}")
        controls = _longest({tuple(trial.ran): trial.mutant for trial in ended if trial.code})
        for _ in range(_ATTEMPTS - 1):
            again = self._all(session, [(mutant, list(items)) for items, mutant in controls.items()], control=True)
            controls = {tuple(trial.ran): trial.mutant for trial in again if trial.code}
        for items, mutant in controls.items():
            failed = session.items[items[-1]].nodeid
            raise pytest.UsageError(f"{failed} fails without this mutant, too, taken alone: {mutant}\n{self._why()}")
        survivors = [[*trial.mutant.key, str(trial.mutant), bool(trial.ran)] for trial in ended if trial.code == 0]
        self._out.write_text(json.dumps({"mutants": [[*item.key] for item in self._mutants], "survivors": survivors}))
        return True

    def _why(self) -> str:
        return self._failed.read_text() if self._failed.exists() else "no test failed: the child itself did"

    def _all(self, session: pytest.Session, wanted: list[tuple[Mutant, list[int]]], *, control: bool) -> list[Trial]:
        """What became of each, with the tests that it is given; a few at a time."""
        waiting, running, ended = list(wanted), dict[int, tuple[Trial, mmap.mmap, float]](), []
        while waiting or running:
            while waiting and len(running) < _AT_ONCE:
                mutant, items = waiting.pop(0)
                count = mmap.mmap(-1, _COUNT_BYTES)
                pid = _forked(partial(self._tried, session, mutant, items, count, control=control))
                running[pid] = Trial(mutant, items, 0), count, time.monotonic()
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid in running:
                trial, count, _ = running.pop(pid)
                ran = trial.ran[: int.from_bytes(count[:], "big")]
                ended.append(Trial(trial.mutant, ran, os.waitstatus_to_exitcode(status)))
                count.close()
                continue
            for late, (_, _, began) in running.items():
                if time.monotonic() - began > _CHILD_SECONDS:
                    os.kill(late, signal.SIGKILL)  # it hangs: that is noticed, too
            time.sleep(0.002)
        return ended

    def _items(self, mutant: Mutant) -> list[int]:
        path = str(mutant.place.path)
        if isinstance(mutant.place.node, ast.FunctionDef):
            places = [(path, line) for line in mutant.lines]
        else:
            # Who looks at a value: the functions of its module, or a test by itself.
            places = [(path, 0), ("", 0)]
        reaching = {(cost, item) for place in places for cost, item in self._reach.get(place, [])}
        return [item for _, item in sorted(reaching)]

    def _as_it_is(self, session: pytest.Session, map_file: Path) -> None:
        """Which tests reach a line, and what each costs: those that are quick and about little notice most.

        Line 0 of a file is reached by all that reach any of it, and that of no file by all that reach none.
        """
        self._tells = True
        places = {(str(item.place.path), item.place.qualname) for item in self._mutants}
        reach: dict[tuple[str, int], list[tuple[float, int]]] = {}
        now: set[tuple[str, int]] = set()

        def inside(frame: FrameType, event: str, _: Any) -> Trace:
            if event == "line":
                now.add((frame.f_code.co_filename, frame.f_lineno))
            return inside

        def seen(frame: FrameType, event: str, _: Any) -> Trace | None:
            code = frame.f_code
            function = code.co_qualname.partition(".<locals>")[0]
            return inside if (code.co_filename, function) in places else None

        for number, (item, following) in enumerate(_in_turn(session.items)):
            now.clear()
            began = time.process_time()  # what else the machine does must not decide which tests are tried first
            sys.settrace(seen)
            threading.settrace(seen)
            _run(item, following)
            sys.settrace(None)
            threading.settrace(None)
            cost = (time.process_time() - began) * (1 + len(now))
            for place in {*now, *((path, 0) for path, _ in now)} or {("", 0)}:
                reach.setdefault(place, []).append((cost, number))
        map_file.write_text(json.dumps([[*place, tests] for place, tests in reach.items()]))

    def _tried(
        self, session: pytest.Session, mutant: Mutant, items: list[int], count: mmap.mmap, *, control: bool
    ) -> None:
        if control:
            self._tells = True
        else:
            put_in_force(mutant)
        for done, (item, following) in enumerate(_in_turn([session.items[number] for number in items])):
            count[:] = (done + 1).to_bytes(_COUNT_BYTES, "big")
            _run(item, following)


def _longest(controls: dict[tuple[int, ...], Mutant]) -> dict[tuple[int, ...], Mutant]:
    """Without those that another one begins with: its tests are run on the way."""
    begun = {items[:length] for items in controls for length in range(1, len(items))}
    return {items: mutant for items, mutant in controls.items() if items not in begun}


def _in_turn(items: Sequence[pytest.Item]) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
    """Each with the one that follows, so that only what that one does not need is torn down."""
    return zip_longest(items, items[1:])


def _run(item: pytest.Item, following: pytest.Item | None) -> None:
    """Run one test; its failure ends the child by `pytest_runtest_makereport`."""
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)


def _forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _adopt()
        if not os.environ.get(_SHOW):
            nowhere = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(nowhere, number)
        work()
    except BaseException:
        _leave(_BROKEN)
    _leave(0)


def _adopt() -> None:
    """What our children leave behind becomes ours, so that it can be ended with us: a test that failed ends nothing.

    Source: https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "what the tests start could not be adopted")


def _end_descendants() -> None:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _leave(code: int) -> NoReturn:
    _end_descendants()
    os._exit(code)


def _ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> int:
    """The command line."""
    out, prefixes, *files = sys.argv[1:]
    plugin = Mutation(tuple(prefixes.split(",")), Path(out))
    _adopt()
    try:
        return pytest.main(
            ["-q", "--capture=no", "-p", "no:cacheprovider", "-o", "timeout=0", *files], plugins=[plugin]
        )
    finally:
        _end_descendants()  # of children that hung


if __name__ == "__main__":
    sys.exit(main())
