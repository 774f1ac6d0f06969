"""Completion in a real bash, and the scripts for the other shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.service_rig import alert, notification, serving
from uici.access.roles import Role

_ASK = """
complete -r; source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
$(complete -p uici | sed 's/.*-F \\([^ ]*\\) .*/\\1/') uici
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "targets.yml").write_text(
        "targets:\n  shop-web: {bindings: {local: {program: web, command: [/bin/sleep, '1']}}}\n"
    )
    return tmp_path


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("UICI_")}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "HOME": str(home), **more}


def offered(home: Path, *words: str, **more: str) -> list[str]:
    """What bash offers for the last of `words`; nothing else may be printed."""
    script = home / "uici.bash"
    if not script.exists():
        shown = subprocess.run(
            # The shell that asks is found out, so it is bash that has to ask.
            ["bash", "--norc", "-c", "uici --show-completion; exit $?"],
            env=environment(home),
            capture_output=True,
            text=True,
            check=True,
        )
        script.write_text(shown.stdout)
    done = subprocess.run(
        ["bash", "--norc", "-c", _ASK, "bash", str(script), "uici", *words],
        env=environment(home, **more), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_options_and_names_of_the_configuration(home: Path) -> None:
    site = {"UICI_CONFIG_DIR": str(home / "site")}
    assert {"preview", "doctor", "watch"} <= set(offered(home, ""))
    assert offered(home, "doct") == ["doctor"]
    assert "--against" in offered(home, "preview", "--a")
    assert offered(home, "run", "restart_", **site) == ["restart_service"]
    assert offered(home, "run", "restart_service", "shop", **site) == ["shop-web"]
    assert offered(home, "run", "restart_service", "shop-web", "-e", "lo", **site) == ["local"]
    assert offered(home, "preview", "--config", str(home / "site"), "-e", "doc") == ["docker"]
    assert "would-run" in offered(home, "preview", "--expect", "would-r")


def test_a_failure_is_silent(home: Path) -> None:
    (home / "site" / "targets.yml").write_text("targets: [")
    assert offered(home, "run", "restart_service", "shop", UICI_CONFIG_DIR=str(home / "site")) == []
    nowhere = {"UICI_URL": "http://127.0.0.1:9", "UICI_TOKEN": "x"}
    assert offered(home, "watch", "", **nowhere) == []
    assert offered(home, "runs", "") == []


def test_ids_come_from_the_server(home: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "served") as served:
        (incident,) = served.alert(notification(alert("ForTheShell"))).json()["incidents"]
        server = {"UICI_URL": served.url, "UICI_TOKEN": served.tokens[Role.VIEWER]}
        assert offered(home, "incidents", "inc_", **server) == [incident["id"]]
        assert incident["id"] in offered(home, "watch", "", **server)
        (run,) = offered(home, "runs", "run_", **server)
        assert run.startswith("run_")


@pytest.mark.parametrize(("shell", "mark"), [("zsh", "#compdef uici"), ("fish", "complete --command uici")])
def test_the_other_shells_have_their_scripts(home: Path, shell: str, mark: str) -> None:
    asking = environment(home, _UICI_COMPLETE=f"source_{shell}")
    done = subprocess.run(["uici"], env=asking, capture_output=True, text=True, check=True)
    assert mark in done.stdout
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n"], input=done.stdout, text=True, check=True)


def test_it_is_installed_for_bash(home: Path) -> None:
    command = ["bash", "--norc", "-c", "uici --install-completion; exit $?"]
    subprocess.run(command, env=environment(home), capture_output=True, check=True)
    assert "uici" in (home / ".bashrc").read_text()
