"""Calls that reach anything: any endpoint of the Engine API, and any program inside a container."""

from __future__ import annotations

import json

from executors.deadline import Deadline
from executors.docker.arguments import EngineRequest, Exec
from executors.docker.engine import MAX_ANSWER_BYTES, Answer, Engine
from executors.docker.execution import Execution, Program
from executors.docker.readings import demultiplexed
from executors.snapshot import secrets_of
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind
from uici.model.masking import mask

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


def run_inside(execution: Execution, container_id: str, name: str, arguments: Exec, deadline: Deadline) -> JsonObject:
    """Run a program in the container and wait for its end.

    Raises CallError: PERMANENT when it could not be started or ended with another exit code than expected, UNKNOWN
    when it has not ended in time.
    """
    program = Program(arguments.argv, arguments.environment, arguments.stdin, arguments.user)
    _, output = execution.run(container_id, name, program, deadline, MAX_ANSWER_BYTES, mutates=True)
    said = output.content.decode("utf-8", "replace")
    if output.timed_out:
        raise CallError(
            FailureKind.UNKNOWN,
            "program_not_ended",
            f"the program in container {name!r} has not ended in time; whether it did its work is not known",
        )
    if arguments.expect_exit is not None and output.exit_code not in arguments.expect_exit:
        wanted = ", ".join(str(code) for code in arguments.expect_exit)
        shown = " ".join(str(mask(said, secrets_of(program.environment))).split())[-600:]
        raise CallError(
            FailureKind.PERMANENT,
            "unexpected_exit",
            f"{arguments.argv[0]!r:.100} in container {name!r} ended with exit code {output.exit_code}, expected "
            f"{wanted}: {shown or 'it wrote nothing'}",
        )
    return {"exit_code": output.exit_code, "output": said[:MAX_OUTPUT], "truncated": len(said) > MAX_OUTPUT}


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
