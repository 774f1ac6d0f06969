"""A snapshot never fails as a whole because one look does, stays small, and hides secrets everywhere."""

from __future__ import annotations

import json

import pytest

from executors.snapshot import take
from uici.model.base import JsonValue
from uici.model.call import CallError, FailureKind


def failing(error: Exception) -> JsonValue:
    raise error


GONE = CallError(FailureKind.TEMPORARY, "unreachable", "nobody answers")


def test_each_section_fails_alone() -> None:
    sections = {
        "status": lambda: {"state": "exited"},
        "resources": lambda: failing(GONE),
        "logs": lambda: failing(PermissionError(13, "Permission denied", "/var/log/web")),
    }
    snapshot = take(sections, dict, 10_000)
    assert snapshot["status"] == {"state": "exited"}
    assert snapshot["resources"] == {"error": "nobody answers"}
    assert snapshot["logs"] == {"error": "Permission denied /var/log/web"}


def test_without_any_section_there_is_no_snapshot() -> None:
    with pytest.raises(CallError, match="nobody answers"):
        take({"status": lambda: failing(GONE), "logs": lambda: failing(GONE)}, dict, 10_000)


def test_logs_are_left_out_when_nobody_knows_what_to_hide_in_them() -> None:
    def unknown() -> dict[str, str]:
        raise GONE

    snapshot = take({"status": lambda: {"state": "running"}, "logs": lambda: {"lines": ["hunter2"]}}, unknown, 10_000)
    assert "hunter2" not in json.dumps(snapshot)
    assert snapshot["status"] == {"state": "running"}


def test_values_of_secret_variables_are_hidden_in_every_section() -> None:
    sections = {"logs": lambda: {"lines": ["with tea-for-two"]}, "processes": lambda: [{"command": "web tea-for-two"}]}
    snapshot = take(sections, lambda: {"DB_PASSWORD": "tea-for-two", "COLOUR": "with"}, 10_000)
    assert snapshot["logs"] == {"lines": ["with ******"]}
    assert snapshot["processes"] == [{"command": "web ******"}]


def test_the_newest_lines_are_what_stays() -> None:
    lines = [f"line {number}" for number in range(5000)]
    snapshot = take({"status": lambda: {"state": "running"}, "logs": lambda: {"lines": lines}}, dict, 5000)
    assert snapshot["truncated"]
    assert snapshot["logs"]["lines"][-1] == "line 4999"
    assert len(json.dumps(snapshot)) < 5500


def test_a_section_that_is_too_large_says_so() -> None:
    sections = {"status": lambda: {"state": "running"}, "details": lambda: ["x" * 100_000]}
    snapshot = take(sections, dict, 5000)
    assert snapshot["status"] == {"state": "running"}
    assert "left out" in snapshot["details"]["error"]
