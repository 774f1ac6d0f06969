"""What is asked of the monitoring, and how a failure is told; and values of an incident in parameters."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.unit.sites import alert
from uici.model.builtin import BUILTIN_SPECS, EXPIRE, QUERY, SILENCE
from uici.model.call import Call, CallError, FailureKind, Happened
from uici.model.filling import IncidentValues, MissingValueError
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.parameters import check_value
from uici.model.site import Environment
from uici.monitoring.performing import MonitoringCalls
from uici.monitoring.selectors import narrowed
from uici.runs.proposing import patch_of

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


def call(call_name: str, /, **arguments: Any) -> Call:
    spec = BUILTIN_SPECS[call_name]
    assert not check_value(spec.arguments, arguments)
    return Call(
        id="one", name=call_name, arguments=arguments, mutates=spec.mutates, risk=spec.risk, timeout_seconds=1,
        in_flight_seconds=1, provable=spec.provable, key="run_1:do:0",
    )  # fmt: skip


# --- PromQL ---


@pytest.mark.parametrize(
    ("query", "labels", "sent"),
    [
        ("up{}", {"job": "web"}, 'up{job="web"}'),
        ("up{ }", {"job": "web"}, 'up{job="web"}'),
        ('sum(rate(x{code=~"5.."}[5m])) / y{}', {"a": "b"}, 'sum(rate(x{code=~"5..", a="b"}[5m])) / y{a="b"}'),
        ('up{a="}"}', {"b": "{"}, 'up{a="}", b="{"}'),
        ("up{a='it\\'s {'}", {"b": "c"}, "up{a='it\\'s {', b=\"c\"}"),
        ('up{a="b",} # {not one', {"c": "d"}, 'up{a="b",c="d"} # {not one'),
        ('up{a="b" # said }\n}', {"c": "d"}, 'up{a="b", c="d"}'),
        ("up", {}, "up"),
        ("vector(1)", {}, "vector(1)"),
    ],
)
def test_labels_are_added_inside_braces(query: str, labels: dict[str, str], sent: str) -> None:
    assert narrowed(query, labels) == sent


@pytest.mark.parametrize(
    ("query", "labels"),
    [
        ("up", {"job": "web"}),
        ("up{", {}),
        ("up}", {}),
        ("up{{}}", {}),
        ('up{a="b}', {}),
        ("up{a=`b}", {}),
        ("up{}", {"__name__": "other"}),
        ("up{}", {'a="b"} or vector(1) #': "x"}),
        ("up{}", {"": "x"}),
    ],
)
def test_what_cannot_be_narrowed_is_refused(query: str, labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        narrowed(query, labels)


@given(st.text())
def test_a_value_never_leaves_its_quotes(value: str) -> None:
    sent = narrowed("up{}", {"job": value})
    found = _STRING.fullmatch(sent.removeprefix("up{job=").removesuffix("}"))
    assert found is not None
    assert json.loads(found[0]) == value
    assert "\n" not in sent


# --- values of the incident ---


def values(**labels: str) -> IncidentValues:
    return IncidentValues.of(alert(alertname="Down", **labels), {"container": "web-1", "port": 80}, "docker", "web")


def test_values_of_the_incident_are_whole_and_keep_their_type() -> None:
    filled = values(instance="a:1").fill(
        {"labels": {"instance": "${labels.instance}"}, "port": "${target.port}", "on": "${incident.target}", "all": 1}
    )
    assert filled == {"labels": {"instance": "a:1"}, "port": 80, "on": "web", "all": 1}


@pytest.mark.parametrize("text", ["${labels.missing}", "${target.nothing}", "${incident.severity}", "${other.x}"])
def test_what_the_incident_lacks_is_never_left_out(text: str) -> None:
    with pytest.raises(MissingValueError, match="has no value here"):
        values().fill({"matchers": {"alertname": "Down", "x": text}})


def test_a_label_is_data_even_when_it_looks_like_a_reference() -> None:
    assert values(evil="${target.container}").fill({"x": "${labels.evil}"}) == {"x": "${target.container}"}


# --- the servers' answers ---


@contextmanager
def serving(answer: Callable[[str, str], tuple[int, bytes]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = answer(self.command, self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def monitoring(url: str, **more: Any) -> MonitoringCalls:
    server = {"url": url, "timeout": 5, **more}
    environment = Environment.model_validate({"platform": "local", "prometheus": server, "alertmanager": server})
    return MonitoringCalls("local", environment, SelfIdentity(names=frozenset({"uici"})), SelfGuardLayers())


def _vector(*values: str) -> bytes:
    result = [{"metric": {"n": str(i)}, "value": [0, value]} for i, value in enumerate(values)]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "said"),
    [
        (400, b'{"status":"error","error":"parse error: unexpected end"}', "permanent", "refused", "unexpected end"),
        (401, b"login", "permanent", "not_authorized", "bearer_token"),
        (503, b"{}", "temporary", "server_error", "503"),
        (429, b"{}", "temporary", "overloaded", "429"),
        (302, b"", "permanent", "refused", "302"),
        (200, b"<html>", "permanent", "not_json", "login page"),
        (200, b"[" * 8000, "permanent", "not_json", "JSON"),
        (200, b'"' + b"x" * 9000 + b'"', "permanent", "answer_too_large", "max_answer_bytes"),
        (200, b'{"status":"success","data":{"resultType":"matrix"}}', "permanent", "unusable_answer", "matrix"),
        (200, _vector(), "permanent", "empty_result", "vector(0)"),
    ],
)
def test_a_question_that_fails_says_why(status: int, body: bytes, kind: str, code: str, said: str) -> None:
    with (
        serving(lambda method, path: (status, body)) as url,
        pytest.raises(CallError) as caught,
    ):
        monitoring(url, max_answer_bytes=8192).perform(call(QUERY, query="up"))
    assert (caught.value.kind, caught.value.code) == (kind, code)
    assert said in caught.value.message


def test_nobody_there_and_nothing_configured_are_told() -> None:
    with serving(lambda method, path: (200, b"")) as url:
        gone = url
    with pytest.raises(CallError, match="could not be asked"):
        monitoring(gone).perform(call(QUERY, query="up"))
    nothing = MonitoringCalls("local", Environment(platform="local"), SelfIdentity(), SelfGuardLayers())
    with pytest.raises(CallError, match=r"environments\.local\.prometheus in environments\.yml"):
        nothing.perform(call(QUERY, query="up"))


def test_an_answer_is_bounded_and_has_no_value_that_is_no_number() -> None:
    with serving(lambda method, path: (200, _vector("1", "2", "NaN"))) as url:
        result = monitoring(url).perform(call(QUERY, query="up", name="ups", limit=2))
    assert (result["name"], result["count"], result["value"], len(result["series"])) == ("ups", 3, None, 2)
    with serving(lambda method, path: (200, _vector("+Inf"))) as url:
        assert monitoring(url).perform(call(QUERY, query="up"))["value"] is None
    with serving(lambda method, path: (200, _vector("0.25"))) as url:
        assert monitoring(url).perform(call(QUERY, query="up"))["value"] == 0.25


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'"bad matcher"', FailureKind.PERMANENT),
        (500, b'"no space"', FailureKind.UNKNOWN),
        (200, b"<html>", FailureKind.UNKNOWN),
        (200, b"{}", FailureKind.UNKNOWN),
    ],
)
def test_a_change_that_may_have_happened_is_unknown(status: int, body: bytes, kind: FailureKind) -> None:
    def answer(method: str, path: str) -> tuple[int, bytes]:
        return (200, b"[]") if method == "GET" else (status, body)

    silence = call(SILENCE, matchers={"alertname": "Down", "job": "web"}, duration_seconds=60, comment="c")
    with serving(answer) as url, pytest.raises(CallError) as caught:
        monitoring(url).perform(silence)
    assert caught.value.kind is kind


@pytest.mark.parametrize("matchers", [{"alertname": "Down", "job": "uici"}, {"alertname": "UiciDown"}])
def test_alerts_about_uici_are_never_silenced(matchers: dict[str, str]) -> None:
    asked: list[str] = []

    def answer(method: str, path: str) -> tuple[int, bytes]:
        asked.append(method)
        return 200, b"[]"

    with serving(answer) as url, pytest.raises(CallError) as caught:
        monitoring(url).perform(call(SILENCE, matchers=matchers, duration_seconds=60, comment="c"))
    assert caught.value.code == "self_target"
    assert asked == []


def test_only_silences_of_its_own_are_ended() -> None:
    theirs = {"id": "abcdefgh", "status": {"state": "active"}, "createdBy": "bob", "comment": "", "endsAt": ""}
    asked: list[str] = []

    def answer(method: str, path: str) -> tuple[int, bytes]:
        asked.append(method)
        return 200, json.dumps([theirs]).encode()

    with serving(answer) as url:
        with pytest.raises(CallError, match="ends only its own"):
            monitoring(url).perform(call(EXPIRE, silence="abcdefgh"))
        with pytest.raises(CallError, match="has no silence"):
            monitoring(url).perform(call(EXPIRE, silence="12345678"))
        assert monitoring(url).happened(call(EXPIRE, silence="abcdefgh"), {}) is Happened.NO
    assert set(asked) == {"GET"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"matchers": {"job": "web"}, "duration_seconds": 600, "comment": "no name"},
        {"matchers": {"alertname": ""}, "duration_seconds": 600, "comment": "empty name"},
        {"matchers": {"alertname": "A"}, "duration_seconds": 59, "comment": "short"},
        {"matchers": {"alertname": "A"}, "duration_seconds": 86401, "comment": "long"},
        {"matchers": {"alertname": ["A"]}, "duration_seconds": 600, "comment": "list"},
    ],
)
def test_a_silence_is_bounded(arguments: dict[str, Any]) -> None:
    assert check_value(BUILTIN_SPECS[SILENCE].arguments, arguments)


# --- proposals ---


def test_a_proposal_is_a_patch_that_applies(tmp_path: Path) -> None:
    patch = patch_of("rules/web.yml", "        for: 5m\n", "        for: 15m")
    assert patch == "--- a/rules/web.yml\n+++ b/rules/web.yml\n@@ -1 +1 @@\n-        for: 5m\n+        for: 15m\n"
    program = shutil.which("patch")
    if program is None:
        return
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "web.yml").write_text("groups:\n  - alert: A\n        for: 5m\n")
    done = subprocess.run([program, "-p1"], input=patch, cwd=tmp_path, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "for: 15m" in (tmp_path / "rules" / "web.yml").read_text()


@pytest.mark.parametrize("url", ["http://admin:pw@prom:9090", "https://token@prom/"])
def test_a_url_holds_no_credentials(url: str) -> None:
    with pytest.raises(ValidationError, match="no user and no password"):
        Environment(platform="local", prometheus={"url": url})
