"""`uici demo` on a simulated platform, as a newcomer runs it; `make demo` plays it on this machine's own processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

UICI = (sys.executable, "-c", "from uici.cli import main; main()")
MARK = "UICI_DEMO_MARK"


def demo(*arguments: str, temporary: Path, program: tuple[str, ...] = UICI) -> subprocess.CompletedProcess[str]:
    """With folders of its own, and a mark by which its processes are known."""
    environment = {**os.environ, "TMPDIR": str(temporary), MARK: str(temporary), "COLUMNS": "120"}
    return subprocess.run(
        [*program, "demo", *arguments], env=environment, capture_output=True, text=True, check=False, timeout=200
    )


def left_running(temporary: Path) -> list[list[str]]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(temporary):
                found.append(process.cmdline())
        except psutil.Error:
            continue  # it has ended, or is not ours
    return found


def test_the_story_on_a_simulated_cloud_is_healed_labelled_and_leaves_nothing(tmp_path: Path) -> None:
    told = demo("--platform", "oci", temporary=tmp_path)
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stderr == ""
    lines = told.stdout.splitlines()
    assert "SIMULATION" in lines[0]
    assert "SIMULATION" in lines[-4]
    assert any("summary of a SIMULATION of Oracle Cloud" in line for line in lines)
    rows = [[cell.strip() for cell in line.strip("│").split("│")][:3] for line in lines if line.count("│") == 5]
    assert rows == [
        ["shop was killed", "start", "healed"],
        ["search hung", "restart", "healed"],
        ["mail got a bad configuration", "roll_back_the_deployment", "healed"],
        ["alert about UICI itself", "nothing", "refused"],
    ]
    assert all(f"call={call}" in told.stdout for call in ("oci.start", "oci.restart", "oci.rollback"))
    assert left_running(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_platform_without_a_demo_is_refused_with_those_that_have_one(tmp_path: Path) -> None:
    told = demo("--platform", "docker", temporary=tmp_path)
    assert told.returncode == 2
    assert "there is no demo on the platform 'docker'" in told.stderr
    assert "local, oci" in told.stderr


def test_a_missing_sdk_is_told_before_anything_begins(tmp_path: Path) -> None:
    without = (sys.executable, "-c", "import sys; sys.modules['oci'] = None; from uici.cli import main; main()")
    told = demo("--platform", "oci", temporary=tmp_path, program=without)
    assert told.returncode == 2
    assert "pip install 'uici[oci]'" in told.stderr
    assert told.stdout == ""
