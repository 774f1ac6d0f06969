"""kill -9 of the sender at any moment of a change: afterwards it is proved, and each process is started once."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.contract.local_rig import LocalRig, call, make_call
from uici.model.base import JsonObject
from uici.model.call import Happened

_DELAYS = [0.0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.15]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("program.restart", {}),
        ("program.configure", {"environment": {"COLOUR": "red"}}),
        ("program.deploy", {"version": "bad"}),
    ],
)
def test_a_killed_sender(tmp_path: Path, name: str, arguments: JsonObject) -> None:
    rig = LocalRig(tmp_path)
    script = textwrap.dedent(
        f"""
        import json, sys
        from executors.local import LocalExecutor
        from tests.contract.local_rig import call
        from tests.contract.rig import NOBODY
        from uici.ports import ExecutorContext
        settings = {{"directory": {str(rig.directory)!r}}}
        executor = LocalExecutor(ExecutorContext(environment="rig", settings=settings, identity=NOBODY))
        arguments = json.loads(sys.stdin.readline())
        print("go", flush=True)
        call(executor, {name!r}, **arguments)
        """
    )

    def spawned() -> int:
        return (rig.directory / "supervisord.log").read_text().count("INFO spawned: 'victim-0'")

    try:
        for delay in _DELAYS:
            binding = rig.reset()
            executor = rig.executor()
            attempt = make_call(name, target=binding, **arguments)
            before, count = executor.before(attempt), spawned()
            with subprocess.Popen(
                [sys.executable, "-c", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
            ) as sender:
                assert sender.stdin is not None
                assert sender.stdout is not None
                sender.stdin.write(json.dumps({"target": binding, **arguments}) + "\n")
                sender.stdin.flush()
                sender.stdout.readline()
                time.sleep(delay)
                sender.kill()
            # What supervisord has been told already, it does within this time; see in_flight_seconds.
            time.sleep(0.3)
            proof = executor.happened(attempt, before)
            assert proof is not Happened.UNKNOWN
            if proof is Happened.NO:
                executor.perform(attempt)
            assert executor.happened(attempt, before) is Happened.YES
            assert spawned() - count == 1
            assert call(executor, "program.status", target=binding)["state"] == "running"
    finally:
        rig.close()
