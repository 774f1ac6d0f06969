"""Calls that reach anything: any endpoint of the Engine API, and any program inside a container."""

from __future__ import annotations

import json

from executors.docker.calls import EngineRequest
from executors.docker.engine import Answer, Deadline, Engine
from executors.docker.readings import demultiplexed
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind

MAX_OUTPUT = 65_536


def engine_request(engine: Engine, request: EngineRequest, mutates: bool, deadline: Deadline) -> JsonObject:
    """Send it. Raises CallError; also PERMANENT `engine_reported_error` for an error inside a stream of progress."""
    answer = engine.request(
        request.method,
        request.path,
        request.query,
        request.body,
        mutates=mutates,
        deadline=deadline,
        # The call's own limit is what holds: a stop or a pull may take long.
        extra_seconds=deadline.left(),
    )
    body = _body(answer)
    if isinstance(body, list) and mutates:
        errors = [line["error"] for line in body if isinstance(line, dict) and isinstance(line.get("error"), str)]
        if errors:
            raise CallError(
                FailureKind.PERMANENT,
                "engine_reported_error",
                f"{engine.where} reported while it worked on {request.method} /{'/'.join(request.path)[:200]}: "
                f"{errors[0][:400]}",
            )
    return {"status": answer.status, "body": body, "truncated": answer.truncated}


def run_inside(engine: Engine, container_id: str, name: str, argv: tuple[str, ...], deadline: Deadline) -> JsonObject:
    """Run `argv` in the container and wait for its end. Raises CallError PERMANENT when it could not be started."""
    body: JsonObject = {"AttachStdout": True, "AttachStderr": True, "Cmd": list(argv)}
    made = engine.post(("containers", container_id, "exec"), body=body, deadline=deadline, secrets=argv).json()
    exec_id = str(made["Id"])
    answer = engine.post(
        ("exec", exec_id, "start"),
        body={"Detach": False, "Tty": False},
        deadline=deadline,
        extra_seconds=deadline.left(),
        secrets=argv,
    )
    ended = engine.get(("exec", exec_id, "json")).json() or {}
    code = ended.get("ExitCode")
    output = demultiplexed(answer.content).decode("utf-8", "replace")
    if code in (126, 127) and "OCI runtime exec failed" in output:
        raise CallError(
            FailureKind.PERMANENT,
            "program_not_started",
            f"container {name!r} on {engine.where} could not start the program (exit code {code}); "
            "check that the image has it and that it may be executed",
        )
    return {
        "exit_code": code,
        "output": output[:MAX_OUTPUT],
        "truncated": answer.truncated or len(output) > MAX_OUTPUT,
    }


def _body(answer: Answer) -> JsonValue:
    if not answer.content.strip():
        return None
    whole = answer.json()
    if whole is not None:
        return whole
    text = answer.content.decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        return [json.loads(line) for line in lines]
    except ValueError:
        return demultiplexed(answer.content).decode("utf-8", "replace")
