import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from uici.cli.app import app, hoisted

NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens there
RUNNER = CliRunner()


pytestmark = pytest.mark.usefixtures("lone_shell")


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state-home"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["runs", "-o", "json"], ["-o", "json", "runs"]),
        (["runs", "--output=json", "x"], ["--output=json", "runs", "x"]),
        (["--server", "s", "runs", "--token", "t"], ["--server", "s", "--token", "t", "runs"]),
        (["run", "a", "b", "-p", "x=--token"], ["run", "a", "b", "-p", "x=--token"]),
        (["runs", "--", "-o", "json"], ["runs", "--", "-o", "json"]),
        (["runs", "-o"], ["-o", "runs"]),
    ],
)
def test_global_options_may_stand_anywhere(given: list[str], expected: list[str]) -> None:
    assert hoisted(given) == expected


COMMANDS = [
    "init", "serve", "check", "preview", "run", "incidents", "runs", "watch", "approve", "reject", "cancel", "freeze",
    "unfreeze", "brakes", "operations", "targets", "environments", "workers", "demo", "version", "doctor",
    "configuration", "reload", "schema", "operations list", "operations show", "operations lint", "operations test",
    "token create", "token list", "token revoke",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    result = RUNNER.invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_the_help_documents_the_exit_codes() -> None:
    result = RUNNER.invoke(app, ["--help"])
    assert "Exit codes: 0" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["runs", "--nothing"],
        ["approve", "run_1"],
        ["token", "create"],
        ["token", "create", "--role", "king"],
        ["token", "create", "--role", "admin", "--expires", "0"],
        ["runs", "--limit", "0"],
        ["runs", "--state", "waitng", "--server", NOWHERE, "--token", "t"],
        ["incidents", "--state", "ended", "--server", NOWHERE, "--token", "t"],
        ["runs", "-o", "xml"],
        ["preview"],
        ["preview", "a.json", "--incident", "x"],
        ["preview", "missing.json"],
        ["serve", "--listen", "nowhere"],
        ["serve", "--listen", "host:99999"],
        ["serve", "--state", "uici.db"],
        ["token", "list", "--state", "uici.db"],
        ["runs", "--server", "ftp://x", "--token", "t"],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("arguments", [["runs"], ["incidents", "x"], ["freeze"], ["watch", "run_1"], ["targets"]])
def test_no_token_exits_3(arguments: list[str]) -> None:
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 3
    assert "no_token" in result.stderr
    assert "uici token create" in result.stderr


def test_an_unreachable_server_exits_3() -> None:
    result = RUNNER.invoke(app, ["runs", "--server", NOWHERE, "--token", "x"])
    assert result.exit_code == 3
    assert "unreachable" in result.stderr
    assert result.stdout == ""


def test_problems_as_json() -> None:
    result = RUNNER.invoke(app, ["runs", "-o", "json", "--server", NOWHERE, "--token", "x"])
    assert json.loads(result.stderr)["code"] == "unreachable"


def test_a_token_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret-token\n")
    result = RUNNER.invoke(app, ["runs", "--server", NOWHERE, "--token-file", str(file)])
    assert "unreachable" in result.stderr
    assert "secret-token" not in result.output
    result = RUNNER.invoke(app, ["runs", "--token-file", str(tmp_path / "missing")])
    assert result.exit_code == 2


def test_a_named_token_file_counts_more_than_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UICI_TOKEN", "the-administrators")
    result = RUNNER.invoke(app, ["runs", "--server", NOWHERE, "--token-file", str(tmp_path / "missing")])
    assert result.exit_code == 2
    assert "token_file_unreadable" in result.stderr


def test_tokens_live_in_the_state(tmp_path: Path) -> None:
    state = ["--state", f"sqlite:///{tmp_path}/uici.db"]
    created = RUNNER.invoke(app, ["token", "create", "--role", "viewer", "--name", "night", "--expires", "2", *state])
    assert created.exit_code == 0
    token = created.stdout.strip()
    assert created.stdout == token + "\n"
    id_ = token.split("_")[1]
    listed = RUNNER.invoke(app, ["token", "list", "-o", "json", *state])
    (info,) = json.loads(listed.stdout)["tokens"]
    assert (info["id"], info["name"], info["role"], info["revoked_at"]) == (id_, "night", "viewer", None)
    assert token.split("_", 2)[2] not in listed.stdout
    assert RUNNER.invoke(app, ["token", "revoke", id_, *state]).exit_code == 0
    assert json.loads(RUNNER.invoke(app, ["token", "list", "-o", "json", *state]).stdout)["tokens"][0]["revoked_at"]
    assert RUNNER.invoke(app, ["token", "revoke", "nobody", *state]).exit_code == 1


def test_a_starter_tree_is_written_and_is_good(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    first = RUNNER.invoke(app, ["init", str(folder)])
    assert first.exit_code == 0, first.output
    assert (folder / "platform.yml").is_file()
    checked = RUNNER.invoke(app, ["check", "--config", str(folder)])
    assert checked.exit_code == 0, checked.output
    assert f"the configuration in {folder} is good" in checked.stdout
    again = RUNNER.invoke(app, ["init", str(folder)])
    assert again.exit_code == 1


def test_a_check_without_a_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UICI_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    checked = RUNNER.invoke(app, ["check"])
    assert checked.exit_code == 0, checked.output
    assert checked.stdout.startswith("the shipped configuration alone (no --config, ")


def test_check_prints_every_problem(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "platform.yml").write_text("servise: {}\n")
    (folder / "targets.yml").write_text("targets:\n  web: {bindings: {lokal: {program: x, command: [x]}}}\n")
    result = RUNNER.invoke(app, ["check", "--config", str(folder)])
    assert result.exit_code == 1
    assert f"{folder}/platform.yml:1:1: " in result.stdout
    assert "did you mean 'service'?" in result.stdout
    assert f"{folder}/targets.yml:2:" in result.stdout
    as_json = json.loads(RUNNER.invoke(app, ["check", "--config", str(folder), "-o", "json"]).stdout)
    assert as_json["ok"] is False
    assert len(as_json["problems"]) == len(result.stdout.splitlines())
    # Every command that needs the configuration says the same.
    assert RUNNER.invoke(app, ["token", "list", "--config", str(folder)]).exit_code == 1


UNREAD = [
    (["check", "--config", "missing"], "no_such_folder"),
    (["serve", "--config", "missing"], "no_such_folder"),
    (["token", "list", "--config", "missing"], "no_such_folder"),
    (["preview", "alerts.json", "--config", "missing"], "no_such_folder"),
    (["check", "--config", "closed"], "not readable"),
    (["check", "--config", "closed/inner"], "no_such_folder"),
    (["check", "--config", "x" * 300], "no_such_folder"),
    (["check", "--config", "site"], "unreadable_folder"),
    (["check", "--config", "file-closed"], "unreadable_file"),
    (["preview", "missing.json"], "file_unreadable"),
    (["preview", "closed.json"], "readable"),
    (["preview", "--plan", "missing.json"], "file_unreadable"),
    (["runs", "--token-file", "missing"], "token_file_unreadable"),
    (["runs", "--token-file", "closed.json"], "not readable"),
    (["init", "closed/new"], "cannot_write"),
    (["init", "payload.json"], "cannot_write"),
    (["token", "list", "--state", "sqlite:///closed/uici.db"], "state_unusable"),
    (["token", "list", "--state", "sqlite:///payload.json"], "state_unusable"),
    (["serve", "--state", "sqlite:///payload.json"], "state_unusable"),
]


_ALL_OF_THEM = """
import json, sys
from typer.testing import CliRunner
from uici.cli.app import app
results = [CliRunner().invoke(app, arguments) for arguments in json.load(sys.stdin)]
print(json.dumps([(result.exit_code, result.output) for result in results]))
"""


def test_what_cannot_be_read_or_written_exits_2(tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_text("{}")
    (tmp_path / "alerts.json").write_text(
        json.dumps({"version": "4", "status": "firing", "receiver": "x", "groupKey": "{}", "alerts": []})
    )
    (tmp_path / "site" / "operations").mkdir(parents=True)
    (tmp_path / "file-closed").mkdir()
    (tmp_path / "file-closed" / "targets.yml").touch()
    (tmp_path / "closed.json").write_text("{}")
    (tmp_path / "closed").mkdir()
    for name in ("closed", "closed.json", "site/operations", "file-closed/targets.yml"):
        (tmp_path / name).chmod(0)
    # Root opens what is closed to its owner by two capabilities, which are taken from it here.
    ordinary = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*ordinary, sys.executable, "-c", _ALL_OF_THEM],
        input=json.dumps([arguments for arguments, _ in UNREAD]),
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for (arguments, code), (status, said) in zip(UNREAD, json.loads(done.stdout), strict=True):
        assert (status, code in said, "Traceback" in said) == (2, True, False), (arguments, status, said)
    (tmp_path / "closed").chmod(0o700)
    (tmp_path / "site" / "operations").chmod(0o700)


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, '{"version": "4"}'])
def test_a_payload_that_is_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "payload.json"
    file.write_text(content)
    result = RUNNER.invoke(app, ["preview", str(file)])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output


def test_a_preview_without_a_server_is_an_answer_alone_on_stdout(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "targets.yml").write_text(
        "targets:\n  web: {bindings: {local: {program: web, command: [/bin/sleep, '1']}}}\n"
    )
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"steps": [{"operation": "restart_service", "target": "web"}]}))
    result = RUNNER.invoke(app, ["preview", "--plan", str(plan), "--config", str(folder), "-o", "json"])
    assert result.exit_code == 0, result.output
    (preview,) = json.loads(result.stdout)["previews"]
    assert preview["steps"][0]["calls"][0]["name"] == "program.restart"
    assert preview["cid"].startswith("sha256:")
    again = RUNNER.invoke(app, ["preview", "--plan", str(plan), "--config", str(folder), "-o", "json"])
    assert again.stdout == result.stdout
    plan.write_text(json.dumps({"steps": [{"operation": "restart_servise", "target": "web"}]}))
    wrong = RUNNER.invoke(app, ["preview", "--plan", str(plan), "--config", str(folder)])
    assert wrong.exit_code == 2
    assert "did you mean 'restart_service'" in wrong.stderr


def test_version() -> None:
    assert RUNNER.invoke(app, ["version"]).stdout.startswith("uici 0.")
    assert "version" in json.loads(RUNNER.invoke(app, ["version", "-o", "json"]).stdout)
