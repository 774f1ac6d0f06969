"""When a pod that has ended is in a crash loop, and when it has just ended."""

from __future__ import annotations

from typing import Any

import pytest

from executors.kubernetes.facts import Facts

ENDED = {"terminated": {"exitCode": 137, "reason": "Error"}}
CLEAN = {"terminated": {"exitCode": 0, "reason": "Completed"}}
WAITING = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s restarting failed container"}}


def pod(
    state: dict[str, Any],
    restarts: int,
    *,
    policy: str = "Always",
    phase: str = "Running",
    deleted: bool = False,
    init: bool = False,
) -> dict[str, Any]:
    one = {"name": "web", "state": state, "lastState": ENDED if restarts else {}, "restartCount": restarts}
    metadata = {"name": "web-1", "uid": "u", **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {})}
    return {
        "metadata": metadata,
        "spec": {"containers": [{"name": "web", "image": "web:1"}], "restartPolicy": policy},
        "status": {"phase": phase, "initContainerStatuses" if init else "containerStatuses": [one]},
    }


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (pod(WAITING, 2), "restarting"),
        (pod(ENDED, 2), "restarting"),
        (pod(CLEAN, 2), "restarting"),
        (pod(ENDED, 2, init=True), "restarting"),
        (pod(ENDED, 2, policy="OnFailure"), "restarting"),
        # It ended once; the kubelet has not started it again yet.
        (pod(ENDED, 0), "exited"),
        # Nothing starts it again.
        (pod(CLEAN, 2, policy="OnFailure"), "exited"),
        (pod(ENDED, 2, policy="Never"), "exited"),
        (pod(ENDED, 2, phase="Failed"), "exited"),
        (pod(ENDED, 2, deleted=True), "exited"),
    ],
)
def test_a_crash_loop_is_one_also_between_two_waits(seen: dict[str, Any], state: str) -> None:
    facts = Facts.of(seen)
    assert facts.state == state
    assert ("crash_looping" in {one.reason for one in facts.problems}) is (state == "restarting")
    assert facts.exit_code == (0 if seen["status"].get("containerStatuses", [{}])[0].get("state") == CLEAN else 137)
