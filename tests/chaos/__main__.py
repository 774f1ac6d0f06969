"""`make chaos`: rounds of faults until enough runs are done; figures as JSON, and status 1 where a rule was broken.

What is bounded and drawn is given by the environment: CHAOS_RUNS and CHAOS_DOCKER_RUNS (how many runs), CHAOS_MINUTES
(for how long at most), CHAOS_SEED (alerts and faults are drawn from it; without one a suite that was stopped goes on).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tests.chaos.docker_ground import docker_ground
from tests.chaos.history import longest
from tests.chaos.rounds import BOUNDS, SETTINGS, MemoryServices, Round, read_verdict, run
from tests.real.components import PROBES
from tests.real.postgres import Postgres, postgres
from uici.model.base import JsonObject

_ALERTS, _TARGETS, _PACE = 320, 240, 4.0
_DOCKER_ALERTS, _DOCKER_TARGETS, _DOCKER_PACE = 60, 40, 1.0


def main() -> None:
    """Do rounds, or those that are left, and print what came of all."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/chaos"), help="folder of the histories")
    out: Path = parser.parse_args().out.absolute()
    if (missing := PROBES["postgres"]()) is not None:
        sys.exit(f"no chaos without PostgreSQL: {missing}")
    # So that nothing is left running by whoever stops it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    until = time.monotonic() + 60 * float(os.environ.get("CHAOS_MINUTES", "30"))
    folder, seed = _suite(out)
    _say(f"CHAOS_SEED={seed}  ({folder})")
    wanted = {
        "local": int(os.environ.get("CHAOS_RUNS", "1000")),
        "docker": int(os.environ.get("CHAOS_DOCKER_RUNS", "100")),
    }
    verdicts = [
        *_rounds(folder / "executor", seed, wanted["local"], until, docker=False),
        *_rounds(folder / "docker", seed, wanted["docker"], until, docker=True),
    ]
    total = summary(seed, verdicts)
    total["complete"] = all(total["runs"][platform] >= count for platform, count in wanted.items())
    (folder / ("summary.json" if total["complete"] else "so-far.json")).write_text(json.dumps(total, indent=1))
    _say(json.dumps({name: value for name, value in total.items() if name != "rounds"}, indent=1))
    sys.exit(1 if total["violations"] or total["failures"] else 0)


def summary(seed: int, verdicts: list[JsonObject]) -> JsonObject:
    """All rounds as one."""
    faults: Counter[str] = Counter()
    for verdict in verdicts:
        faults.update(verdict["faults"])
    return {
        "seed": seed,
        "runs": {
            platform: sum(verdict["runs"] for verdict in verdicts if verdict["platform"] == platform)
            for platform in ("local", "docker")
        },
        **{
            name: sum(verdict[name] for verdict in verdicts)
            for name in ("alerts_accepted", "deliveries_accepted", "mutating_calls", "sent_again")
        },
        "outcomes": _added(verdicts, "outcomes"),
        "attempts": _added(verdicts, "attempts"),
        "answers": _added(verdicts, "answers"),
        "faults": dict(sorted(faults.items())),
        "freezes": _added(verdicts, "freezes"),
        "bounds": {"freeze_seconds": BOUNDS.freeze_seconds, "takeover_seconds": BOUNDS.takeover_seconds},
        "measured": {
            name: longest(verdict["measured"][name] for verdict in verdicts)
            for name in sorted({name for verdict in verdicts for name in verdict["measured"]})
        },
        "violations": [{"seed": verdict["seed"], **item} for verdict in verdicts for item in verdict["violations"]],
        "failures": [{"seed": verdict["seed"], "what": item} for verdict in verdicts for item in verdict["failures"]],
        "rounds": verdicts,
    }


def _added(verdicts: list[JsonObject], name: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    for verdict in verdicts:
        total.update({str(key): count for key, count in verdict[name].items()})
    return dict(sorted(total.items()))


def _suite(out: Path) -> tuple[Path, int]:
    """The folder and seed of the suite: the one that is asked for, one that was stopped, or a new one."""
    given = os.environ.get("CHAOS_SEED")
    if given is None:
        stopped = [file for file in sorted(out.glob("*/seed")) if not (file.parent / "summary.json").exists()]
        seed = int(stopped[-1].read_text()) if stopped else random.SystemRandom().randrange(10**8)
    else:
        seed = int(given)
    folder = out / str(seed)
    if (folder / "summary.json").exists():  # asked for once more
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seed").write_text(str(seed))
    return folder, seed


def _rounds(folder: Path, seed: int, runs: int, until: float, *, docker: bool) -> list[JsonObject]:
    verdicts: list[JsonObject] = []
    if runs and docker and (missing := PROBES["docker"]()) is not None:
        _say(f"no rounds on Docker: {missing}")
        return verdicts
    with _database(runs) as database:
        while sum(verdict["runs"] for verdict in verdicts) < runs:
            number = len(verdicts)
            place = folder / f"round-{number:03}"
            verdict = read_verdict(place)
            if verdict is None:
                if time.monotonic() > until:
                    break
                shutil.rmtree(place, ignore_errors=True)  # it was stopped in its midst
                place.mkdir(parents=True)
                verdict = _round(place, seed * 1000 + number, until, database, docker=docker)
                (place / "verdict.json").write_text(json.dumps(verdict, indent=1))
            _show(place, verdict)
            verdicts.append(verdict)
    return verdicts


def _database(runs: int) -> Any:
    return postgres(fsync="on", **SETTINGS) if runs else nullcontext()


def _round(place: Path, seed: int, until: float, database: Postgres, *, docker: bool) -> JsonObject:
    if docker:
        with docker_ground(place, _DOCKER_TARGETS) as engine:
            return run(place, Round(seed, _DOCKER_ALERTS, _DOCKER_TARGETS, _DOCKER_PACE, until), engine, database)
    services = MemoryServices(place, seed)
    try:
        return run(place, Round(seed, _ALERTS, _TARGETS, _PACE, until), services, database)
    finally:
        services.close()


def _show(place: Path, verdict: JsonObject) -> None:
    _say(
        f"{place.parent.name}/{place.name}: seed {verdict['seed']}, {verdict['runs']} runs in {verdict['seconds']} s, "
        f"{sum(verdict['faults'].values())} faults, {len(verdict['violations'])} violations, "
        f"{len(verdict['failures'])} failures, nearest to the bounds {verdict['measured']}"
    )
    for item in (*verdict["violations"][:20], *verdict["failures"][:20]):
        _say(f"  {item}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
