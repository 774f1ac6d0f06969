"""A storm: alerts on many targets at once over HTTP, and what became of every single one."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import ground, served
from tests.benchmarks.measuring import Figure, Ratio, Result
from tests.e2e.server import Server
from tests.waiting import until
from uici.access.roles import Role
from uici.model.alert import AlertOutcome

_CONNECTIONS = 32
_ALERTS_EACH = 10
_RETRY_SECONDS = 0.5
_WAIT_SECONDS = 0.1
"""What has to wait longer for its turn is refused and sent again: the promise is 200 ms, or 503."""
_OUTCOMES = tuple(outcome.value for outcome in AlertOutcome)


@dataclass(frozen=True)
class Stormed:
    """What a storm came to. Counted in the state, after its end."""

    sent: int
    refused: int
    """Notifications that were answered 503, and sent again."""
    ended: Counter[str]
    """Alerts by the one state in which they ended."""
    unended: int
    incidents: int
    answers: tuple[float, ...]
    """Milliseconds of each 202."""
    seconds: float
    peak_mib: float

    @property
    def accounted(self) -> int:
        return sum(self.ended[outcome] for outcome in _OUTCOMES)


def storm(folder: Path, *, alerts: int, targets: int, connections: int, patience: float) -> Stormed:
    """Send them over as many connections, each notification until it is accepted; then wait for the end of all runs."""
    config = ground.site(folder / "site", targets, intake={"wait_seconds": _WAIT_SECONDS})
    with Server(config, entry=served.UICI) as uici:
        key = {"Authorization": f"Bearer {uici.tokens[Role.ALERTMANAGER]}"}
        bodies = ground.bodies(alerts // _ALERTS_EACH, _ALERTS_EACH, targets)
        requests = [served.request("/webhooks/alertmanager", body, key) for body in bodies]
        begun = time.perf_counter()
        with ThreadPoolExecutor(connections) as pool:
            shares = [requests[number::connections] for number in range(connections)]
            results = list(pool.map(lambda share: _deliver(uici.port, share), shares))
        with sqlite3.connect(config / "state" / "uici.db", timeout=30) as state:
            unended = "SELECT count(*) FROM runs WHERE state != 'ended'"
            until(lambda: state.execute(unended).fetchone()[0] == 0, "the end of the storm's runs", seconds=patience)
            seconds = time.perf_counter() - begun
            ended = Counter(dict(state.execute("SELECT outcome, count(*) FROM alerts GROUP BY outcome").fetchall()))
            incidents = state.execute("SELECT count(*) FROM incidents").fetchone()[0]
        peak = _peak_mib(uici.process.pid)
    return Stormed(
        sent=len(bodies) * _ALERTS_EACH,
        refused=sum(refused for _, refused in results),
        unended=ended.pop(None, 0),
        ended=ended,
        incidents=incidents,
        answers=tuple(took for answers, _ in results for took in answers),
        seconds=seconds,
        peak_mib=peak,
    )


def measure(folder: Path) -> Result:
    """Ten thousand alerts on a thousand targets. Fails when a single one is not accounted for."""
    alerts, targets = 10_000, 1_000
    with served.bare_service(folder) as bare:
        bodies = ground.bodies(alerts // _ALERTS_EACH, _ALERTS_EACH, targets)
        plain = [served.request("/webhooks/alertmanager", body, {}) for body in bodies]
        _, beside = served.volley(bare.port, plain, connections=_CONNECTIONS, wanted=202)
    found = storm(folder, alerts=alerts, targets=targets, connections=_CONNECTIONS, patience=900.0)
    if found.accounted != found.sent or found.unended:
        raise RuntimeError(f"{found.sent} alerts were accepted, {found.accounted} are accounted for: {found.ended}")
    mine, other = Figure.of("POST answered", found.answers), Figure.of("bare route with a commit", beside)
    name = "a route and a commit"
    return Result(
        name="storm",
        figures=(mine, other),
        ratios=(Ratio("POST answered in the storm, p99", mine.p99, name, other.p99, "ms", 200),),
        facts={
            "alerts sent and accounted for": found.accounted,
            **{f"ended as {outcome}": count for outcome, count in sorted(found.ended.items())},
            "incidents": found.incidents,
            "notifications answered 503 and sent again": found.refused,
            "seconds until the last run ended": round(found.seconds, 1),
            "peak RSS, MiB (VmHWM)": round(found.peak_mib),
        },
    )


def _deliver(port: int, requests: Sequence[bytes]) -> tuple[list[float], int]:
    """Each until it is accepted, as Alertmanager does; how long the acceptances took, and how often it was refused."""
    connection = served.Connection(port)
    took: list[float] = []
    refused = 0
    try:
        for made in requests:
            while True:
                begun = time.perf_counter()
                status = connection.send(made)
                if status == 202:
                    took.append((time.perf_counter() - begun) * 1000)
                    break
                if status != 503:
                    raise RuntimeError(f"answered {status}")
                refused += 1
                time.sleep(_RETRY_SECONDS)
    finally:
        connection.close()
    return took, refused


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
