"""Previews: what would be done about an alert, in this process and over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.benchmarks import ground, served
from tests.benchmarks.measuring import Figure, Ratio, Result, timed
from tests.doubles.memory_executor import World
from tests.e2e.server import Server, payload
from uici.access.roles import Role
from uici.bootstrap import Application

_COUNT = 1000
_PREVIEW = "/api/v1/plans:preview"


def _working(do: Callable[[], object], times: int = 50) -> float:
    """What one takes of a processor in milliseconds, which other load changes least."""
    begun = time.process_time()
    for _ in range(times):
        do()
    return (time.process_time() - begun) / times * 1000


def measure(folder: Path) -> Result:
    """Previews of one alert, beside the reads that they make of the platform, and beside a route that answers only."""
    config = ground.site(folder / "site", 20)
    document = payload(ground.alert(1, "svc1"))
    application = Application(config, f"sqlite:///{folder / 'state.db'}", executors={"local": World().executor_class()})
    try:
        preview = application.control.preview
        inside = Figure.of("preview", timed(lambda: preview(document, None), count=_COUNT))
        working = Figure.of("preview, processor time", [_working(partial(preview, document, None)) for _ in range(20)])
        reads = Figure.of(
            "the reads alone",
            timed(lambda: application.platforms.read("local", "svc1", "get_service_status"), count=_COUNT),
        )
    finally:
        application.platforms.close()
        application.store.close()
    body = json.dumps(document).encode()
    with Server(config, entry=served.UICI) as uici, served.bare_service(folder) as bare:
        key = {"Authorization": f"Bearer {uici.tokens[Role.OPERATOR]}"}
        made = served.request(_PREVIEW, body, key)
        seconds, each = served.volley(uici.port, [made] * _COUNT, connections=2, wanted=200)
        bare_seconds, _ = served.volley(bare.port, [made] * _COUNT, connections=2, wanted=200)
    own = 1000 / inside.median
    return Result(
        name="previews",
        figures=(inside, working, reads, Figure.of("preview over HTTP", each)),
        ratios=(
            Ratio("previews in process", own, "the reads alone", 1000 / reads.median, "/s", 1000),
            Ratio("previews in process, p99", inside.p99, "the reads alone", reads.p99, "ms", 10),
            Ratio("previews over HTTP", _COUNT / seconds, "a bare route", _COUNT / bare_seconds, "/s"),
        ),
    )
