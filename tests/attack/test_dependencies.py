"""The audit of dependencies says what it does not know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.attack.dependencies import CLEAN, KNOWN, NOT_JUDGED, main

GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"], "aliases": []}]}
SKIPPED = {"name": "uici", "skip_reason": "not found on PyPI"}
ANSWERS = {
    "nothing known": (json.dumps({"dependencies": [GOOD, SKIPPED]}), 0, CLEAN, "1 packages judged, 0"),
    "something known": (json.dumps({"dependencies": [GOOD, BAD]}), 1, KNOWN, "b 1: PYSEC-1; fixed in 2"),
    "no data": ("", 1, NOT_JUDGED, "NOT JUDGED: ERROR: connection refused"),
    "all skipped": (json.dumps({"dependencies": [SKIPPED]}), 0, NOT_JUDGED, "NOT JUDGED: no package was judged"),
    "something else": ("[]", 0, NOT_JUDGED, "NOT JUDGED"),
}


@pytest.mark.parametrize(("answer", "status", "code", "said"), ANSWERS.values(), ids=ANSWERS.keys())
def test_what_is_not_known_is_never_good(
    answer: str, status: int, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "pip-audit"
    (tmp_path / "answer").write_text(answer)
    program.write_text(f"#!/bin/sh\ncat '{tmp_path}/answer'\necho 'ERROR: connection refused' >&2\nexit {status}\n")
    program.chmod(0o755)
    assert main(str(program)) == code
    assert said in capsys.readouterr().out


def test_an_audit_that_cannot_run_judges_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(str(tmp_path / "missing")) == NOT_JUDGED
    assert "NOT JUDGED" in capsys.readouterr().out
