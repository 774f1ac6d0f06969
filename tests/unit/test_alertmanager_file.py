"""`uici alertmanager config`: what it prints is valid, and what it says of a user's file is true."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from uici.catalogue.alertmanager_file import check_alertmanager
from uici.cli.app import app

MINIMAL: dict[str, Any] = {"route": {"receiver": "people", "routes": []}, "receivers": [{"name": "people"}]}


def printed(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["alertmanager", "config", *arguments])
    assert done.exit_code == 0, done.output
    document: dict[str, Any] = yaml.safe_load(done.stdout)
    return document


def merged(tmp_path: Path, *arguments: str) -> Path:
    """What is printed, put into a user's minimal file."""
    ours = printed(*arguments)
    document = {
        "route": {**MINIMAL["route"], "routes": ours["route"]["routes"]},
        "receivers": [*MINIMAL["receivers"], *ours["receivers"]],
    }
    path = tmp_path / "alertmanager.yml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def codes(tmp_path: Path, document: object, within: float | None = 900) -> list[tuple[int, str]]:
    path = tmp_path / "theirs.yml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document, sort_keys=False))
    return sorted((item.line, item.code) for item in check_alertmanager(path, within))


@pytest.mark.component("alertmanager")
def test_what_is_printed_fits_into_a_users_file(tmp_path: Path) -> None:
    path = merged(tmp_path, "--url", "http://uici.example:8765/", "--token-file", "/run/secrets/uici")
    done = subprocess.run(
        ["amtool", "check-config", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (webhook,) = yaml.safe_load(path.read_text())["receivers"][1]["webhook_configs"]
    assert webhook["url"] == "http://uici.example:8765/webhooks/alertmanager"
    assert webhook["http_config"]["authorization"]["credentials_file"] == "/run/secrets/uici"
    assert check_alertmanager(path, 900) == []


def test_a_file_is_checked_from_the_command_line(tmp_path: Path) -> None:
    path = merged(tmp_path)
    good = CliRunner().invoke(app, ["alertmanager", "config", "--check", str(path)])
    assert (good.exit_code, "fit together" in good.stdout) == (0, True)
    path.write_text(path.read_text().replace("send_resolved: true", "send_resolved: false"))
    bad = CliRunner().invoke(app, ["alertmanager", "config", "--check", str(path)])
    assert bad.exit_code == 1
    assert "no_send_resolved" in bad.stdout
    assert str(path) in bad.stdout
    missing = CliRunner().invoke(app, ["alertmanager", "config", "--check", str(tmp_path / "none.yml")])
    assert missing.exit_code == 1
    assert CliRunner().invoke(app, ["alertmanager", "config", "--url", "ftp://x"]).exit_code == 2
    assert CliRunner().invoke(app, ["alertmanager", "config", "--people", "a b"]).exit_code == 2


WEBHOOK = "{url: 'http://u:8765/webhooks/alertmanager', http_config: {authorization: {credentials_file: /t}}}"
RECEIVERS = f"receivers:\n- name: people\n- name: uici\n  webhook_configs:\n  - {WEBHOOK}\n"
FIRST = "- {matchers: ['uici_target=\"uici\"'], receiver: people}"
BEAT = "- {matchers: [alertname=Watchdog], receiver: uici, group_interval: 1m, repeat_interval: 1m}"


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ([FIRST, BEAT, "- {matchers: ['severity=~\"warning|critical\"'], receiver: uici}"], []),
        ([BEAT, "- {matchers: [severity=critical], receiver: uici}"], [(5, "own_alerts")]),
        ([BEAT, "- {match: {severity: critical}, receiver: uici}"], [(5, "own_alerts")]),
        ([BEAT, "- {match_re: {severity: 'crit.*'}, receiver: uici}"], [(5, "own_alerts")]),
        (
            [FIRST.replace("}", ", continue: true}"), BEAT, "- {matchers: [severity=critical], receiver: uici}"],
            [(6, "own_alerts")],
        ),
        (
            [FIRST, BEAT, "- {matchers: [severity=critical], receiver: uici, group_interval: 1h}"],
            [(6, "group_interval")],
        ),
        (
            [FIRST, BEAT, "- {matchers: [severity=critical], receiver: uici, group_interval: 1s}"],
            [(6, "group_interval")],
        ),
        ([FIRST, "- {matchers: [severity!=info], receiver: uici}"], [(5, "slow_heartbeat")]),
        ([FIRST], [(2, "not_routed")]),
        (
            [FIRST, "- matchers: [severity=critical]", "  routes: [{receiver: uici, group_interval: 1h}]"],
            [(6, "group_interval")],
        ),
    ],
)
def test_routes_are_followed_as_alertmanager_does(
    tmp_path: Path, routes: list[str], expected: list[tuple[int, str]]
) -> None:
    written = "\n".join(f"  {line}" for line in routes)
    assert codes(tmp_path, f"route:\n  receiver: people\n  routes:\n{written}\n{RECEIVERS}") == expected


@pytest.mark.parametrize(
    ("webhook", "code"),
    [
        ({"send_resolved": False}, "no_send_resolved"),
        ({"http_config": None}, "no_credentials"),
        ({"http_config": {"authorization": {"credentials": "abcdefgh1234"}}}, "inline_credentials"),
        ({"http_config": {"basic_auth": {"username": "a", "password": "abcdefgh1234"}}}, "inline_credentials"),
        ({"http_config": {"bearer_token": "abcdefgh1234"}}, "inline_credentials"),
        ({"url": "http://u/other"}, "no_receiver"),
    ],
)
def test_the_receiver_is_looked_at(tmp_path: Path, webhook: dict[str, Any], code: str) -> None:
    document = yaml.safe_load(merged(tmp_path).read_text())
    (own,) = document["receivers"][1]["webhook_configs"]
    own.update(webhook)
    if own["http_config"] is None:
        del own["http_config"]
    (found,) = codes(tmp_path, document)
    assert found[1] == code
    shown = "\n".join(map(str, check_alertmanager(tmp_path / "theirs.yml", 900)))
    assert "abcdefgh1234" not in shown


@pytest.mark.parametrize("text", ["", "[]", "route: 5", "receivers: {}", "route: {a: [b", "receivers: [5, {name: x}]"])
def test_whatever_stands_in_a_file_is_answered(tmp_path: Path, text: str) -> None:
    assert codes(tmp_path, text)
