"""What is fuzzed: a strategy for the input, and a check that raises when something is wrong with what becomes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from fastapi import Request
from hypothesis import strategies as st

from uici.catalogue.diagnostics import Report
from uici.catalogue.reading import read_bytes
from uici.intake import payload
from uici.model.condition import Condition
from uici.model.errors import Problem, ProblemKind
from uici.model.matching import Matcher
from uici.model.references import is_partial, reference_in
from uici.model.selecting import SelectionError, SelectionSyntaxError, selector
from uici.model.terminals import json_text
from uici.service.body import BodyTooLargeError, parse_object, read_body

DEPTH = 12
_TOKENS = st.sampled_from(
    ['{', '}', '[', ']', ',', ':', '"', '\\', '\\"', '\\u0000', '\\ud800', '\\udc00', '\\u0061', 'null', 'true',
     '-', '0', '1', '.', 'e',
     '9' * 20, '1e400', 'NaN', ' ', '\n', '\ufeff', '\u00e9', '"version":"4"', '"alerts":[', '"labels":{', '"a":"b"',
     '"status":"firing"', '"startsAt":"2026-01-01T00:00:00Z"', '"a":1', '{"version":"4","alerts":[],"x":']
)  # fmt: skip
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=15,
)
_LABELS = st.dictionaries(st.text(max_size=8), st.text(max_size=12) | _JSON, max_size=5)
_ALERT = st.fixed_dictionaries(
    {"status": st.sampled_from(["firing", "resolved"]) | _JSON, "labels": _LABELS},
    optional={"annotations": _LABELS, "startsAt": st.just("2026-01-01T00:00:00Z") | _JSON, "endsAt": _JSON,
              "generatorURL": _JSON, "fingerprint": _JSON},
)  # fmt: skip
_NOTIFICATION = st.fixed_dictionaries(
    {"version": st.just("4"), "alerts": st.lists(_ALERT | _JSON, max_size=4)},
    optional={"receiver": _JSON, "groupKey": _JSON, "truncatedAlerts": _JSON, "x": _JSON},
)


def _broken(text: str, at: int, piece: str) -> bytes:
    at = at % (len(text) + 1)
    return (text[:at] + piece + text[at:]).encode("utf-8", "surrogatepass")


BODIES: st.SearchStrategy[Any] = (
    st.lists(_TOKENS, max_size=40).map(lambda tokens: "".join(tokens).encode("utf-8", "surrogatepass"))
    | _NOTIFICATION.map(lambda document: json.dumps(document).encode())
    | st.builds(
        _broken,
        st.builds(json.dumps, _NOTIFICATION, ensure_ascii=st.booleans()),
        st.integers(0, 4000),
        st.lists(_TOKENS, min_size=1, max_size=2).map("".join),
    )
    | st.binary(max_size=60)
)


def must(hold: bool) -> None:
    """What has to be true of an error, too."""
    assert hold


def payloads(body: Any) -> None:
    """The fast way and the slow way to read JSON agree: both refuse, or both read the same."""
    try:
        quick: Any = payload._decode(body, DEPTH)
    except Problem as problem:
        must(problem.kind is ProblemKind.INVALID)
        must(problem.code in ("too_deep", "not_json", "not_utf8"))
        quick = problem
    if not isinstance(quick, Problem):
        slow = payload._decode_slowly(body)
        assert json.dumps(quick, sort_keys=True) == json.dumps(slow, sort_keys=True), (
            "the two ways read different things"
        )
    elif quick.code != "too_deep":
        try:
            payload._decode_slowly(body)
        except Problem:
            pass
        else:
            raise AssertionError("what the slow way reads is refused")
    try:
        read = payload.parse_notification(body, max_depth=DEPTH)
    except Problem as problem:
        must(problem.kind is ProblemKind.INVALID)
        json_text(list(problem.errors)).encode()
        return
    for each in read.alerts:
        for name, value in (each.labels | each.annotations).items():
            (name + value).encode()
            assert "\0" not in name + value


def bodies(body: Any) -> None:
    """The API's reader of JSON gives an object without anything that cannot be kept, or a problem."""
    try:
        document = parse_object(body, DEPTH)
    except Problem as problem:
        must(problem.kind is ProblemKind.INVALID)
        return
    assert json.loads(json.dumps(document, allow_nan=False).encode()) == document or "e" in repr(document)


_CHUNKS = st.tuples(
    st.lists(st.binary(max_size=40), max_size=8), st.sampled_from(["", "0", "5", "40", "x", "-1", "9" * 30])
)


def streams(value: Any) -> None:
    """A body comes whole or not at all, however it is cut and whatever is announced."""
    chunks, announced = value
    headers = [(b"content-length", announced.encode())] if announced else []
    messages = [
        {"type": "http.request", "body": chunk, "more_body": number + 1 < len(chunks)}
        for number, chunk in enumerate(chunks)
    ] or [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    whole, limit = b"".join(chunks), 100
    request = Request({"type": "http", "headers": headers, "method": "POST", "path": "/"}, receive)
    try:
        read = asyncio.run(read_body(request, limit))
    except BodyTooLargeError:
        assert len(whole) > limit or (announced.isdigit() and int(announced) > limit)
    else:
        assert read == whole
        assert len(read) <= limit


_WORDS = st.sampled_from(
    ["a", "alertname", "=", "!=", "=~", "!~", '"', "\\", '\\"', "(", ")", "[", "]", "*", "+", "?", "{2,}", "|", "^",
     "$",
     "(?i)", "(?s)", "(?P<x>", "\\d", "\\Q", "\\pL", "\n", "\0", " ", "\u00e9", "x" * 50]
)  # fmt: skip


def matchers(text: Any) -> None:
    """A matcher, or why it is none; and one that is one judges every label."""
    try:
        matcher = Matcher(text)
    except ValueError as error:
        must("is not a" in str(error))
        return
    for value in ("", "a", "x" * 10_000, "\0", "\u00e9\n", text):
        assert matcher.matches({matcher.label: value}) in (True, False)
    try:
        condition = Condition(field="a", matches=matcher.value)
    except ValueError:
        return
    assert condition.holds({"a": ["x", text]}) in (True, False)


_PIECES = st.sampled_from(
    ["a", ".", "[", "]", "[0]", "[-1]", '["', '"]', '["x.y"]', "[?", "=", "[?a=1]", "$parameters.x", "$target.y",
     "${", "}",
     "calls", "target", "parameters", ".length()", "\\", '"', "9" * 30, "\n", "\ud800", "\u0663"]
)  # fmt: skip


def selections(value: Any) -> None:
    """A selection means what it shows, and finds one thing or says why not; a reference is whole or told."""
    text, document = value
    written = f"${{calls.a{text}}}"
    assert (reference_in(written) is None) is is_partial(written)
    try:
        found = selector(text)
    except SelectionSyntaxError:
        return
    assert selector(str(found)) == found
    try:
        found.of(document)
    except SelectionError as error:
        must(error.code.startswith("selection_"))


_YAML = st.sampled_from(
    ["a", "b", ": ", ":", "\n", "\n  ", "- ", "? ", "&x ", "*x", "<<", "|", ">", "'", '"', "!!str ", "!x ", "---",
     "...", "#",
     "[", "]", "{", "}", ",", "%YAML 1.1", "\t", "~", "0x1F", "1_0", "\u00e9", "\ufeff", "\0", "\\x41", "2026-01-01"]
)  # fmt: skip


def documents(data: Any) -> None:
    """Any bytes are a document of plain values, or diagnostics with a place."""
    report = Report()
    node = read_bytes(data, "x.yml", report)
    assert node is not None or report
    assert all(each.line >= 1 and each.column >= 1 for each in report)
    if node is not None:
        json.dumps(node.plain(), allow_nan=False)


Target = tuple[st.SearchStrategy[Any], Callable[[Any], None]]
TARGETS: dict[str, Target] = {
    "payloads": (BODIES, payloads),
    "bodies": (BODIES, bodies),
    "streams": (_CHUNKS, streams),
    "matchers": (
        st.lists(_WORDS, max_size=12).map(lambda words: "a=~" + "".join(words)) | st.lists(_WORDS).map("".join),
        matchers,
    ),
    "selections": (st.tuples(st.lists(_PIECES, max_size=8).map("".join), _JSON), selections),
    "documents": (
        st.lists(_YAML, max_size=40).map(lambda words: "".join(words).encode()) | st.binary(max_size=60),
        documents,
    ),
}
