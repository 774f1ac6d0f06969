"""A `uici serve` that kills itself at one boundary of a run, given by UICI_TEST_CRASH_AT.

`<stage>:before` and `<stage>:after` are the boundaries of a stage, the latter before the run's row says so;
`begin:before` lies between the engine's start of a part and its first look at the run; `call:announced` and
`call:performed` are those around a mutating call.
Faults are injected from outside; the code under test has no hook for them.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from uici.runs import stages
from uici.runs.data import RunData
from uici.runs.engine import Engine
from uici.runs.services import Services
from uici.runs.stages import acting

BOUNDARY = "UICI_TEST_CRASH_AT"


def main() -> None:
    """Arm the boundary, then be `uici`."""
    wanted = os.environ.get(BOUNDARY, "")
    stage, _, when = wanted.partition(":")
    one_stage, announce, settle = stages.one_stage, acting._announce, acting._settle

    def crashing_stage(services: Services, data: RunData) -> RunData:
        if (data.stage.value, "before") == (stage, when):
            die()
        after = one_stage(services, data)
        if (data.stage.value, "after") == (stage, when):
            die()
        return after

    def crashing_announce(*arguments: Any) -> Any:
        announced = announce(*arguments)
        if wanted == "call:announced":
            die()
        return announced

    def crashing_settle(*arguments: Any, **more: Any) -> None:
        if wanted == "call:performed":
            die()
        settle(*arguments, **more)

    def crashing_begin(self: Engine, run_id: str, part: int) -> Any:
        if wanted == "begin:before":
            die()
        return begin(self, run_id, part)

    begin = Engine._taken_up
    Engine._taken_up = crashing_begin  # type: ignore[method-assign]  # a fault, injected
    stages.one_stage = crashing_stage
    acting._announce = crashing_announce  # type: ignore[assignment]  # a fault, injected
    acting._settle = crashing_settle

    from uici.cli import main as uici

    uici()


def die() -> None:
    """As the kernel does: no handler, no flush, no farewell."""
    os.kill(os.getpid(), signal.SIGKILL)
