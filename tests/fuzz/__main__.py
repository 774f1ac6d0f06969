"""Goes round through the fuzz targets until the minutes are over.

    FUZZ_MINUTES=5 python -m tests.fuzz [--seed N] [--only NAME]

Each round gives every target some seconds with a seed of its own, which is printed. What fails is printed as the call
that repeats it, is kept in build/fuzz (Hypothesis' database, tried first by the next round), and ends the fuzzing with
exit code 1.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.fuzz.targets import TARGETS

_EXAMPLES = 400
_KEPT = Path("build/fuzz")


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz what reads foreign texts.")
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("FUZZ_MINUTES", "5")))
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", choices=sorted(TARGETS), default=None)
    chosen = parser.parse_args()
    number = secrets.randbelow(2**32) if chosen.seed is None else chosen.seed
    deadline = time.monotonic() + chosen.minutes * 60
    counts = dict.fromkeys(TARGETS, 0)
    while True:
        for name in [chosen.only] if chosen.only else TARGETS:
            failure = attack(name, number)
            counts[name] += _EXAMPLES
            if failure:
                sys.stdout.write(f"{failure}\n{name} failed; again: python -m tests.fuzz --only {name} --seed {number}")
                sys.stdout.write(" --minutes 0\n")
                return 1
            if time.monotonic() >= deadline:
                tried = ", ".join(f"{each} {count}" for each, count in counts.items() if count)
                sys.stdout.write(f"nothing found; the last seed was {number}; examples: {tried}\n")
                return 0
        number += 1


def attack(name: str, number: int) -> str:
    """One target with one seed: the traceback with the failing example, or nothing."""
    strategy, check = TARGETS[name]
    sys.stdout.write(f"{name} with the seed {number}\n")
    sys.stdout.flush()
    try:
        attempt(strategy, check, number, _EXAMPLES, DirectoryBasedExampleDatabase(_KEPT))()
    except Exception:  # whatever it is: it is what we look for, and it is told
        return traceback.format_exc()
    return ""


def attempt(
    strategy: st.SearchStrategy[object],
    check: Callable[[object], None],
    number: int,
    examples: int,
    database: DirectoryBasedExampleDatabase | None = None,
) -> Callable[[], None]:
    """`check` over `examples` values of `strategy`; the same number draws the same values."""

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=database,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def tried(value: object) -> None:
        check(value)

    tried.__qualname__ = check.__qualname__  # so that what is kept of one target is not another's
    return tried


if __name__ == "__main__":
    sys.exit(main())
