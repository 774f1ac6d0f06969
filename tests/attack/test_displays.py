"""Texts of alerts on people's terminals, in logs, in headers and in event streams: shown, never obeyed."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.service_rig import alert, notification, serving
from uici.cli.context import OutputFormat, report
from uici.model.errors import Problem, ProblemKind
from uici.model.terminals import json_text, one_line, printable
from uici.service.stream import server_sent

EVIL = "a\x1b[2J\x1b]0;owned\x07\x9b31m\r\nERROR uici all is well\u202eevil\u200b\u2028x\ufeff"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30) | st.just(EVIL)


def obeyed(text: str, allowed: str = "\t\n") -> set[str]:
    """What a terminal would act upon or hide."""
    bad = {"Cc", "Cf", "Zl", "Zp"}
    # Joiners and tags belong to the scripts and pictures of honest texts.
    honest = {"\u200c", "\u200d"} | {one for one in text if ord(one) > 0xFFFF or 0x600 <= ord(one) <= 0x8FF}
    return {one for one in text if unicodedata.category(one) in bad} - set(allowed) - honest


@given(TEXTS)
def test_what_is_printed_is_inert(text: str) -> None:
    assert obeyed(printable(text)) == set()
    assert obeyed(one_line(text), "\t") == set()
    document = {text: [text, {"a": text}]}
    for indent in (None, 2):
        shown = json_text(document, indent=indent)
        assert obeyed(shown) == set()
        assert json.loads(shown) == document


def test_a_problem_is_inert_however_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem(ProblemKind.NOT_FOUND, "unknown_run", EVIL, where=EVIL, hint=EVIL, allowed=(EVIL,))
    for output in OutputFormat:
        report(problem, output)
    assert obeyed(capsys.readouterr().err) == set()


LOGGING = """
import logging, sys
from uici.bootstrap.serving import configure_logging, log
configure_logging()
evil = sys.argv[1]
log.warning("authentication_failed", path=evil, client=evil, more=[evil], inner={evil: evil})
logging.getLogger("library").warning("said %s", evil)
try:
    raise ValueError(evil)
except ValueError:
    log.exception("failed")
    logging.getLogger("library").exception("failed with %s", evil)
"""


def test_log_lines_on_a_terminal_are_inert_and_cannot_be_forged() -> None:
    ours, theirs = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", LOGGING, EVIL], stderr=theirs, timeout=60, check=True)
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65_536):
                shown += piece
        except OSError:  # the other end is closed
            pass
    finally:
        os.close(ours)
    text = shown.decode().replace("\r\n", "\n")
    assert "authentication_failed" in text
    # What colours the lines is the renderer's own.
    assert "\x1b[2J" not in text
    assert "\x1b]" not in text
    assert not {"\x07", "\x9b", "\u202e", "\u2028", "\r"} & set(text)
    forged = [line for line in text.splitlines() if line.startswith("ERROR uici all is well")]
    # Python itself breaks the line of an exception's text; it stands below its traceback.
    assert len(forged) <= 2, text


def test_log_lines_in_a_file_are_one_object_each() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING, EVIL], stderr=subprocess.PIPE, timeout=60, check=True, text=True
    )
    first = done.stderr.splitlines()[0]
    assert json.loads(first)["path"] == EVIL
    assert obeyed(first) == set()


async def _collected(kind: str) -> str:
    from collections.abc import AsyncIterator
    from datetime import UTC, datetime

    from uici.events.log import Event

    async def events() -> AsyncIterator[Event | None]:
        yield Event(
            seq=1, at=datetime.now(UTC), type=kind, run=None, incident=None, environment=None, target=EVIL,
            data={EVIL: EVIL},
        )  # fmt: skip

    return "".join([piece async for piece in server_sent(events(), 0)])


def test_an_event_is_one_event_in_a_stream() -> None:
    import asyncio

    text = asyncio.run(_collected(f"x{EVIL}\ndata: forged"))
    assert [line.partition(":")[0] for line in re.split("\r\n|\r|\n", text) if line] == [
        "retry",
        "id",
        "id",
        "event",
        "data",
    ]


def test_no_header_is_made_of_what_was_asked_for(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        (incident,) = served.alert(notification(alert("x\r\nSet-Cookie: a=b", service=EVIL))).json()["incidents"]
        paths = [
            f"/api/v1/incidents/{incident['id']}/bundle",
            "/api/v1/incidents/x%0d%0aSet-Cookie:%20a=b/bundle",
            "/api/v1/runs/x%0d%0aSet-Cookie:%20a=b",
            "/%0d%0aSet-Cookie:%20a=b",
        ]
        for path in paths:
            answer = served.as_admin("GET", path)
            assert "set-cookie" not in answer.headers, path
            assert answer.status_code in (200, 404), path
        # A browser sends no bearer by itself, and is told by nothing that it may read.
        for headers in ({"Origin": "https://evil.example"}, {"Cookie": "session=x"}, {"Host": "evil.example"}):
            for method, path in (("POST", "/api/v1/freeze"), ("POST", "/api/v1/runs"), ("GET", "/api/v1/incidents")):
                answer = served.request(method, path, headers=headers, json={})
                assert answer.status_code == 401, (path, headers)
                assert not [name for name in answer.headers if name.startswith("access-control-")]
        preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = served.as_admin("OPTIONS", "/api/v1/freeze", headers=preflight)
        assert answer.status_code == 405
        assert not [name for name in answer.headers if name.startswith("access-control-")]
