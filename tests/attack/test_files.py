"""Names that want to be paths, and files that others could read or lay in the way."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.service_rig import Served, alert, notification, serving
from uici.access.roles import Role
from uici.runs.bundle import file_name

UICI = [sys.executable, "-c", "from uici.cli import main; main()"]
PATHS = (
    "../../etc/passwd", "..", ".", "/etc/passwd", "%2e%2e%2fetc%2fpasswd", "..%5c..%5cwin.ini", "a/../../b",
    "~root", "x\\y"
)  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("files")) as served:
        yield served


@pytest.mark.parametrize("name", PATHS)
def test_a_name_is_no_path(served: Served, name: str) -> None:
    for kind in ("operations", "targets", "runs", "incidents", "autonomy/runs"):
        for written in (name, name.replace("/", "%2F").replace(".", "%2E")):
            answer = served.as_admin("GET", f"/api/v1/{kind}/{written}")
            assert answer.status_code in (404, 200), answer.text
            assert "root:" not in answer.text
            # 200 is what a client gets that takes the dots out of the address before it asks.
            assert answer.status_code == 404 or set(name) <= {"."}, answer.text
    step = {"operation": name, "target": name}
    assert served.as_admin("POST", "/api/v1/runs", json={"plan": {"steps": [step]}}).status_code == 422


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "..", "."])
def test_a_name_on_the_command_line_is_no_path(served: Served, name: str, tmp_path: Path) -> None:
    options = ["--server", served.url, "--token", served.tokens[Role.ADMIN]]
    for command in (["operations", "show", name], ["incidents", "bundle", name]):
        done = subprocess.run(
            [*UICI, *options, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stderr
        assert "root:" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*PATHS, "a\r\nX: y", '"; x="', "\0", "-rf", "x" * 5000])
def test_a_bundles_name_is_no_path_and_no_header(name: str) -> None:
    written = file_name(name)
    assert "/" not in written
    assert not written.startswith((".", "-"))
    assert set(written) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def test_the_state_is_for_its_owner_only(tmp_path: Path) -> None:
    former = os.umask(0o000)
    try:
        with serving(tmp_path) as served:
            assert served.alert(notification(alert())).status_code == 202
            state = tmp_path / "state"
            for path in [state, *state.rglob("*")]:
                assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path
            assert (state / "uici.db").exists()
    finally:
        os.umask(former)
