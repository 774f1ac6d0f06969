"""Every decision of every guard, and every place where the self-target guard is asked: flipped, some test must fail."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.integration.test_docker_self_guard import YARD, Yard
from tests.integration.test_oci_self_guard import YARD as OCI_YARD
from tests.integration.test_oci_self_guard import Yard as OciYard
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.flips import UnknownShapeError, flips
from tests.mutation.mutants import mutants
from tests.mutation.places import guard_modules, places
from tests.real.components import REPOSITORY
from tests.real.docker import DockerEngine
from uici.guard.judging import GUARDS

QUICK = (
    "tests/unit/test_guard_judging.py",
    "tests/unit/test_guard_thresholds.py",
    "tests/unit/test_thresholds.py",
    "tests/unit/test_identity.py",
    "tests/unit/test_targeting.py",
    "tests/unit/test_planning.py",
    "tests/unit/test_translation.py",
    "tests/unit/test_self_elsewhere.py",
    "tests/unit/test_self_layers.py",
    "tests/unit/test_local_self_guard.py",
    "tests/integration/test_local_self_guard.py",
)
SHARED = ("tests/integration/test_shared_state.py",)
DOCKER = ("tests/integration/test_docker_self_guard.py",)
KUBERNETES = ("tests/unit/test_kubernetes_self_guard.py",)
OCI = ("tests/integration/test_oci_self_guard.py",)
GUARD = "uici/guard/"
PEERS = "uici/runs/workers.py"
ELSEWHERE = (
    "uici/intake/,uici/model/,uici/monitoring/,uici/planning/,uici/translation/,"
    "uici/runs/c,uici/runs/d,uici/runs/p,uici/runs/stages/,executors/local/"
)
"""All places of uici but those of the guards and of the other processes."""
THERE = "executors/docker/"
CLUSTER = "executors/kubernetes/"
CLOUD = "executors/oci/"


def survivors(prefixes: str, files: tuple[str, ...], out: Path, environment: Mapping[str, str]) -> list[str]:
    """What lived, and exemptions that are no longer true; as lines for people."""
    argv = [sys.executable, "-m", "tests.mutation.runner", str(out), prefixes, *files]
    done = subprocess.run(
        argv, cwd=REPOSITORY, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert out.exists(), f"the mutants could not be tried:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    found = json.loads(out.read_text())
    tried = {tuple(key) for key in found["mutants"]}
    lived = {tuple(item[:4]): (item[4], item[5]) for item in found["survivors"]}
    assert tried, "nothing was found to flip"
    here = {key: reason for key, reason in EQUIVALENT.items() if key[0].startswith(tuple(prefixes.split(",")))}
    lines = [
        f"survived: {text}" + ("" if reached else " (no test runs it)")
        for key, (text, reached) in lived.items()
        if key not in here
    ]
    lines += [f"exempted, but there is no such mutant: {key}" for key in here if key not in tried]
    lines += [f"exempted, but a test notices it: {key}" for key in here if key in tried and key not in lived]
    return lines


@pytest.mark.timeout(900)
def test_no_flipped_decision_of_a_guard_goes_unnoticed(tmp_path: Path) -> None:
    assert survivors(GUARD, QUICK, tmp_path / "mutants.json", {}) == []


@pytest.mark.timeout(900)
def test_no_flipped_decision_elsewhere_goes_unnoticed(tmp_path: Path) -> None:
    assert survivors(ELSEWHERE, QUICK, tmp_path / "mutants.json", {}) == []


@pytest.mark.timeout(900)
@pytest.mark.component("postgres")
def test_no_flipped_decision_about_other_processes_goes_unnoticed(tmp_path: Path) -> None:
    assert survivors(PEERS, SHARED, tmp_path / "mutants.json", {}) == []


@pytest.mark.timeout(900)
def test_no_flipped_decision_about_a_cluster_goes_unnoticed(tmp_path: Path) -> None:
    assert survivors(CLUSTER, KUBERNETES, tmp_path / "mutants.json", {}) == []


@pytest.mark.timeout(900)
def test_no_flipped_decision_about_oracle_cloud_goes_unnoticed(tmp_path: Path) -> None:
    yard = OciYard(tmp_path / "cloud")
    try:
        environment = {OCI_YARD: str(yard.file)}
        assert survivors(CLOUD, OCI, tmp_path / "mutants.json", environment) == []
    finally:
        yard.close()


@pytest.mark.timeout(900)
@pytest.mark.component("docker")
def test_no_flipped_decision_about_containers_goes_unnoticed(tmp_path: Path, docker_engine: DockerEngine) -> None:
    yard = Yard(docker_engine)
    try:
        environment = {"UICI_TEST_DOCKER_HOST": docker_engine.url, YARD: yard.mark}
        assert survivors(THERE, DOCKER, tmp_path / "mutants.json", environment) == []
    finally:
        yard.close()


def test_which_test_fails_without_a_mutant_is_told_and_why(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text("def test_fails() -> None:\n    assert not 'the reason'\n")
    with pytest.raises(AssertionError, match=r"(?s)without any mutant.*::test_fails \(call\):.*the reason"):
        survivors(GUARD, (str(file),), tmp_path / "mutants.json", {})


def test_every_place_is_tried() -> None:
    tried = (GUARD, PEERS, *ELSEWHERE.split(","), THERE, CLUSTER, CLOUD)
    assert [place.file for place in places() if not place.file.startswith(tried)] == []


def test_every_module_of_guards_is_in_the_list_that_is_asked() -> None:
    asked = {Path(guard.__code__.co_filename).name for guard in GUARDS}
    serving = {"__init__.py", "context.py", "judging.py"}
    assert {path.name for path in guard_modules()} - serving == asked
    removed = {mutant.flip.what for mutant in mutants() if mutant.place.qualname == "GUARDS"}
    assert removed == {f"without {guard.__name__} in GUARDS" for guard in GUARDS}


def test_each_layer_of_the_self_target_guard_has_places_that_are_tried() -> None:
    files = {place.file for place in places()}
    assert {
        "uici/intake/targeting.py",
        "uici/intake/recording.py",
        "uici/planning/ladder.py",
        "uici/guard/self_target.py",
        "uici/translation/translating.py",
        "executors/local/selfguard.py",
        "executors/docker/self_guard.py",
        "executors/kubernetes/self_guard.py",
        "executors/kubernetes/open_guard.py",
        "executors/oci/self_guard.py",
        "uici/model/identity.py",
    } <= files


def test_every_exemption_gives_its_reason() -> None:
    assert [key for key, reason in EQUIVALENT.items() if len(reason) < 20] == []


@pytest.mark.parametrize(
    "body",
    [
        "return allow('g', 'r', 1, 'x') if c else deny('g', 'r', 1, 'x')",
        "return (allow if c else deny)('g', 'r', 1, 'x')",
        "return context.decided",
        "return Decision(guard='g', answer=choose(c), rule='r', value=1, reason='x')",
        "match c:\n        case 1:\n            return allow('g', 'r', 1, 'x')",
        "assert c\n    return deny('g', 'r', 1, 'x')",
        "while c:\n        return allow('g', 'r', 1, 'x')",
    ],
)
def test_a_decision_of_a_shape_that_is_not_known_fails_instead_of_being_skipped(body: str) -> None:
    function = ast.parse(f"def guard(context) -> Decision:\n    {body}").body[0]
    assert isinstance(function, ast.FunctionDef)
    with pytest.raises(UnknownShapeError):
        flips(function)
