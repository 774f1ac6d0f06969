"""Programs inside containers on a real engine: input, variables, exit codes, and an end that holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.local_rig import diagnostics, sleepers
from tests.integration.docker_ground import Ground, ground_of
from tests.real.docker import DockerEngine
from uici.model.base import JsonObject
from uici.model.call import FailureKind

BOUND: JsonObject = {"container": "web", "diagnostics": diagnostics("sh", "sleep")}


@pytest.fixture
def ground(docker_engine: DockerEngine) -> Iterator[Ground]:
    yield from ground_of(docker_engine)


def test_a_program_reads_its_input_and_its_variables(ground: Ground) -> None:
    ground.run("web")
    text = "one\n$(id)\n\u00e9 \u6f22\n" * 20_000
    result = ground.do("container.exec", BOUND, argv=["sh", "-c", "cat | head -c 400000"], stdin=text)
    assert (result["exit_code"], result["truncated"]) == (0, True)
    assert text.startswith(result["output"])
    hostile = "a b; $(touch /tmp/evil) 'c' \"d\"\ne"
    result = ground.do("container.exec", BOUND, argv=["sh", "-c", 'echo "$GIVEN"'], environment={"GIVEN": hostile})
    assert result["output"] == f"{hostile}\n"
    assert ground.do("container.exec", BOUND, argv=["ls", "/tmp"])["output"] == ""


def test_an_unexpected_exit_code_is_a_failure_that_says_what_the_program_said(ground: Ground) -> None:
    ground.run("web")
    fail = ["sh", "-c", "echo it is broken; echo $DB_PASSWORD; exit 4"]
    error = ground.fails(
        "container.exec", BOUND, argv=fail, environment={"DB_PASSWORD": "hunter2-hunter2"}, expect_exit=[0, 3]
    )
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "unexpected_exit")
    assert "exit code 4, expected 0, 3: it is broken" in error.message
    assert "hunter2" not in error.message
    assert ground.do("container.exec", BOUND, argv=fail, expect_exit=[4])["exit_code"] == 4


def test_a_program_that_does_not_end_in_time_is_unknown(ground: Ground) -> None:
    ground.run("web")
    call = ground.call("container.exec", BOUND, argv=["sleep", "30"])
    with pytest.raises(Exception, match="has not ended in time") as caught:
        ground.executor.perform(call.model_copy(update={"timeout_seconds": 0.5}))
    assert getattr(caught.value, "kind", None) is FailureKind.UNKNOWN


@pytest.mark.parametrize("shell", [True, False])
def test_a_diagnostic_that_took_too_long_is_gone_with_or_without_a_shell(ground: Ground, shell: bool) -> None:
    ground.run("web")
    bound = BOUND | {"diagnostics": BOUND["diagnostics"] | {"alone": ["sleep", "86399"]}}
    if not shell:
        ground.do("container.exec", BOUND, argv=["busybox", "rm", "/bin/sh"])
    executor = ground.make(limits={"diagnostic_seconds": 0.5})
    result = ground.do("container.diagnose", bound, executor, diagnostic="alone")
    assert (result["timed_out"], result["exit_code"], result["lines"]) == (True, None, [])
    assert sleepers("stuck") == []
    assert ground.inspect("web")["State"]["Running"]


def test_a_diagnostic_whose_engine_is_lost_may_be_asked_again(ground: Ground) -> None:
    ground.run("web")
    executor = ground.make(timeout=1.0)
    ground.do("container.diagnose", BOUND, executor, diagnostic="greet")
    ground.engine.pause()
    try:
        assert ground.fails("container.diagnose", BOUND, executor, diagnostic="greet").kind is FailureKind.TEMPORARY
    finally:
        ground.engine.resume()


def test_a_snapshot_hides_the_values_of_secret_variables_wherever_they_stand(ground: Ground) -> None:
    environment = {"DB_PASSWORD": "tea-for-two-42", "COLOUR": "blue"}
    # Printed without a name beside it, and given as an argument.
    command = ["sh", "-c", "echo connecting with tea-for-two-42; exec sleep 1000", "--token", "abcdefgh"]
    ground.run("web", command=command, environment=environment, labels={"api_key": "k-123456789"})
    snapshot = ground.do("container.snapshot", BOUND)
    for secret in ("tea-for-two-42", "k-123456789"):
        assert secret not in str(snapshot)
    assert "connecting with ******" in snapshot["logs"]["lines"]
    assert snapshot["details"][0]["labels"] == {"api_key": "******"}
    assert snapshot["description"]["configuration"]["environment"]["COLOUR"] == "blue"


def test_a_snapshot_is_cut_to_its_size(ground: Ground) -> None:
    ground.run("web", command=["sh", "-c", "yes 0123456789012345678901234567890123456789 | head -n 2000; sleep 1000"])
    executor = ground.make(limits={"snapshot_bytes": 20_000})
    snapshot = ground.do("container.snapshot", BOUND, executor, lines=2000)
    assert len(str(snapshot)) < 24_000
    assert snapshot["truncated"] is True
    assert snapshot["logs"]["truncated"] is True
    assert snapshot["logs"]["lines"]
    assert snapshot["status"]["state"] == "running"
