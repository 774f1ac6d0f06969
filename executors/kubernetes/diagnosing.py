"""Programs that a binding allows, run in a container and surely ended when they take too long."""

from __future__ import annotations

import secrets

from executors.deadline import Deadline
from executors.diagnostics import END_MARKED, LEFT_MARKED, MARK, Output
from executors.kubernetes.cluster import Cluster
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

_END_SECONDS = 5.0


def diagnose(cluster: Cluster, pod: JsonObject, container: str, argv: tuple[str, ...]) -> Output:
    """Run `argv` within the connection's limits; nothing of it is left when this returns.

    Raises CallError as `Cluster.exec`, and PERMANENT `diagnostic_not_ended` when it could not be ended.
    """
    limits = cluster.settings.limits
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    mark = f"{MARK}={secrets.token_hex(16)}"

    def run(words: tuple[str, ...], seconds: float, limit: int) -> Output:
        return cluster.exec(namespace, name, container, words, Deadline(seconds), limit=limit, mutates=False)

    # An exec has no variables of its own; `env` gives the mark to the program and to all that it starts.
    output = run(("env", mark, *argv), limits.diagnostic_seconds, limits.output_bytes)
    if output.exit_code is not None:
        return output
    for _ in range(2):
        try:
            run(("sh", "-c", END_MARKED, "sh", mark), _END_SECONDS, 1024)
            left = run(("sh", "-c", LEFT_MARKED, "sh", mark), _END_SECONDS, 1024)
        except CallError as error:
            if error.kind is not FailureKind.PERMANENT:
                raise
            break
        if left.exit_code == 0:
            return output
    raise CallError(
        FailureKind.PERMANENT,
        "diagnostic_not_ended",
        f"a diagnostic in container {container!r} of pod {name!r} in namespace {namespace!r} took too long and still "
        "runs: the container has no shell to end it with; delete the pod to end it",
    )
