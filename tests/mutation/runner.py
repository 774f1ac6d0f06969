"""Runs tests against mutants: `python -m tests.mutation.runner OUT PREFIX,… TESTFILE…` writes what survived as JSON.

The tests are collected once. A first child runs them as they are and notes which test reaches which place; then each
mutant gets a child of its own, forked from the collected session, that runs the tests which reach its place until one
fails. A mutant that no test reaches, or under which all pass, has survived.
"""

from __future__ import annotations

import ast
import ctypes
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import zip_longest
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import psutil
import pytest

from tests.mutation.mutants import Mutant, mutants, put_in_force

_SHOW = "UICI_MUTATION_SHOW"
"""Set in the environment: what the children write is shown."""
_CHILD_SECONDS = 60.0
_TESTS_SECONDS = 1.5
_AT_ONCE = 2
_PR_SET_CHILD_SUBREAPER = 36
_KILLED, _BROKEN = 1, 3
"""How a child ends: a test failed, or the mutant could not be put in force. Zero: all its tests passed."""


class Mutation:
    """A pytest plugin in the place of the loop over the tests."""

    def __init__(self, prefixes: tuple[str, ...], out: Path) -> None:
        self._mutants = [item for item in mutants() if item.place.file.startswith(prefixes)]
        self._out = out
        self._reach: dict[tuple[str, str], list[int]] = {}

    def pytest_collection_finish(self) -> None:
        if os.environ.get("UICI_TEST_DOCKER_HOST"):
            from tests.real.docker import DockerEngine  # here, because pytest wants to import that module itself

            # The engine is that of the tests which started this, and has the images.
            setattr(DockerEngine, "make_images", lambda *_: None)  # noqa: B010  # not again for each child

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        """Nobody reads why a test failed, and to say so takes longer than the test."""
        if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
            if os.environ.get(_SHOW):
                traceback.print_exception(call.excinfo.value)
            _leave(_KILLED)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise pytest.UsageError("the tests cannot be collected")
        map_file = self._out.with_suffix(".map")
        if _wait([_forked(partial(self._as_it_is, session, map_file))])[0] != 0:
            raise pytest.UsageError("the tests fail without any mutant")
        self._reach = {tuple(key.split("|")): items for key, items in json.loads(map_file.read_text()).items()}
        # What exists now stays: the children need not look through it, nor copy it.
        gc.freeze()
        gc.disable()
        controls = {tuple(self._items(item)): item for item in self._mutants}.values()
        broken = [item for item, code in self._all(session, controls, control=True) if code]
        # Once more for those that talk to real processes, on a machine that others load.
        broken = [item for item, code in self._all(session, broken, control=True) if code]
        if broken:
            raise pytest.UsageError(f"its tests fail without it, taken alone: {broken[0]}")
        ended = self._all(session, self._mutants, control=False)
        unusable = [item for item, code in ended if code == _BROKEN]
        if unusable:
            raise pytest.UsageError(f"this mutant cannot be made: {unusable[0]}")
        survivors = [[*item.key, str(item), bool(self._items(item))] for item, code in ended if code == 0]
        self._out.write_text(json.dumps({"mutants": [[*item.key] for item in self._mutants], "survivors": survivors}))
        return True

    def _all(self, session: pytest.Session, wanted: Iterable[Mutant], *, control: bool) -> list[tuple[Mutant, int]]:
        """How the child of each ended; a few at a time."""
        waiting, running, ended = list(wanted), dict[int, tuple[Mutant, float]](), []
        while waiting or running:
            while waiting and len(running) < _AT_ONCE:
                mutant = waiting.pop(0)
                pid = _forked(partial(self._mutated, session, mutant, control=control))
                running[pid] = mutant, time.monotonic()
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid in running:
                ended.append((running.pop(pid)[0], os.waitstatus_to_exitcode(status)))
                continue
            for late, (_, began) in running.items():
                if time.monotonic() - began > _CHILD_SECONDS:
                    os.kill(late, signal.SIGKILL)  # it hangs: that is noticed, too
            time.sleep(0.002)
        return ended

    def _items(self, mutant: Mutant) -> list[int]:
        path = str(mutant.place.path)
        if isinstance(mutant.place.node, ast.FunctionDef):
            return self._reach.get((path, mutant.place.qualname), [])
        # Who looks at a value: the functions of its module, or a test by itself.
        return self._reach.get((path, ""), []) + self._reach.get(("", ""), [])

    def _as_it_is(self, session: pytest.Session, map_file: Path) -> None:
        places = {(str(item.place.path), item.place.qualname) for item in self._mutants}
        reach: dict[str, list[tuple[float, int]]] = {}
        now: set[tuple[str, str]] = set()

        def seen(frame: FrameType, event: str, _: Any) -> None:
            if event == "call":
                key = (frame.f_code.co_filename, frame.f_code.co_qualname)
                if key in places:
                    now.add(key)

        for number, (item, following) in enumerate(_in_turn(session.items)):
            now.clear()
            began = time.process_time()  # what else the machine does must not decide which tests are tried
            sys.setprofile(seen)
            threading.setprofile(seen)
            _run(item, following)
            sys.setprofile(None)
            threading.setprofile(None)
            took = time.process_time() - began
            if not now:
                reach.setdefault("|", []).append((took, number))
            for path in {path for path, _ in now}:
                reach.setdefault(f"{path}|", []).append((took, number))
            for path, qualname in now:
                reach.setdefault(f"{path}|{qualname}", []).append((took, number))
        seconds = {key: _TESTS_SECONDS if key.rpartition("|")[2] else 4 * _TESTS_SECONDS for key in reach}
        map_file.write_text(json.dumps({key: _quickest(items, seconds[key]) for key, items in reach.items()}))

    def _mutated(self, session: pytest.Session, mutant: Mutant, *, control: bool) -> None:
        if not control:
            put_in_force(mutant)
        for item, following in _in_turn([session.items[number] for number in self._items(mutant)]):
            _run(item, following)


def _quickest(tests: list[tuple[float, int]], seconds: float) -> list[int]:
    """The quickest tests that together take no longer than a mutant may cost: with fewer tests it only dies harder."""
    chosen: list[int] = []
    spent = 0.0
    for took, number in sorted(tests):
        if not chosen or spent + took <= seconds:
            chosen.append(number)
            spent += took
    return chosen


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


def _wait(pids: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


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
