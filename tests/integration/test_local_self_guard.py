"""Where the local executor asks its layer of the self-target guard, on a real supervisord: each asking by itself."""

from __future__ import annotations

import pytest

from tests.contract.local_rig import call
from tests.integration.local_place import Place, pid_of, place, refused, sleeper
from uici.model.call import FailureKind
from uici.model.identity import SelfGuardLayers, SelfIdentity

__all__ = ["place"]  # the fixture
ONLY_EXECUTOR = SelfGuardLayers(intake=False, planning=False, translation=False)
CHANGES = ("program.start", "program.stop", "program.restart", "program.scale", "program.configure")


def arguments(name: str) -> dict[str, object]:
    return (
        {"replicas": 2}
        if name == "program.scale"
        else {"environment": {"A": "b"}}
        if name == "program.configure"
        else {}
    )


@pytest.mark.parametrize("name", CHANGES)
def test_a_program_of_ucis_name_is_refused_before_anything_is_touched(place: Place, name: str) -> None:
    guarded = place.executor(SelfIdentity(names=frozenset({"sleeper"})), ONLY_EXECUTOR)
    error = refused(guarded, name, target=sleeper(), **arguments(name))
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "self_target")
    assert not (place.directory / "run").exists(), "supervisord was started for it"


def test_a_program_with_ucis_process_or_instance_is_refused_and_runs_on(place: Place) -> None:
    executor = place.executor()
    call(executor, "program.start", target=sleeper())
    pid = pid_of(executor, sleeper())
    assert pid is not None
    for identity in (SelfIdentity(pids=frozenset({pid})), SelfIdentity(names=frozenset({"sleeper-0"}))):
        guarded = place.executor(identity, ONLY_EXECUTOR)
        for name in CHANGES:
            error = refused(guarded, name, target=sleeper(), **arguments(name))
            assert (error.kind, error.code) == (FailureKind.PERMANENT, "self_target")
        error = refused(guarded, "supervisor.rpc", method="stopProcess", params=["sleeper-0"])
        assert (error.kind, error.code) == (FailureKind.PERMANENT, "self_target")
    assert pid_of(executor, sleeper()) == pid


def test_a_program_that_does_not_run_has_no_process_to_be_ucis(place: Place) -> None:
    executor = place.executor()
    call(executor, "program.start", target=sleeper())
    call(executor, "program.stop", target=sleeper())
    call(place.executor(SelfIdentity(names=frozenset({"other"})), ONLY_EXECUTOR), "program.start", target=sleeper())
    assert pid_of(executor, sleeper()) is not None


def test_a_diagnostic_is_not_run_for_uici_nor_with_arguments_that_name_it(place: Place) -> None:
    binding = sleeper(diagnostics={"touch": ["/bin/touch", str(place.state / "own")]})
    executor = place.executor()
    nobody = {"program": "nobody", "diagnostics": binding["diagnostics"]}
    assert refused(executor, "program.diagnose", target=nobody, diagnostic="touch").kind is FailureKind.PERMANENT
    call(executor, "program.start", target=binding)
    pid = pid_of(executor, binding)
    for identity in (
        SelfIdentity(names=frozenset({"sleeper"})),
        SelfIdentity(pids=frozenset({pid})),
        SelfIdentity(names=frozenset({str(place.state / "own").lower().lstrip("/")})),
    ):
        error = refused(place.executor(identity, ONLY_EXECUTOR), "program.diagnose", target=binding, diagnostic="touch")
        assert (error.kind, error.code) == (FailureKind.PERMANENT, "self_target")
    assert not (place.state / "own").exists()
    call(executor, "program.diagnose", target=binding, diagnostic="touch")
    assert (place.state / "own").exists()


def test_what_is_changed_beside_a_program_is_not_changed_beside_uici(place: Place) -> None:
    binding = sleeper(backend={"haproxy": "unix:/nowhere.sock", "backend": "b", "server": "s"})
    call(place.executor(), "program.start", target=sleeper())
    guarded = place.executor(SelfIdentity(names=frozenset({"sleeper-0"})), ONLY_EXECUTOR)
    error = refused(guarded, "program.set_backend", target=binding, state="drain")
    assert (error.kind, error.code) == (FailureKind.PERMANENT, "self_target")
