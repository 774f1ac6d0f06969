"""Small requests that want to become large, and documents that want to be read in two ways."""

from __future__ import annotations

import gzip
import json
import resource
import zlib
from collections.abc import Iterator

import pytest

from tests.integration.service_rig import MAX_BODY, Served, alert, notification, serving
from uici.access.roles import Role
from uici.catalogue.diagnostics import Report
from uici.catalogue.reading import read_bytes
from uici.intake.payload import LabelLimits, parse_notification
from uici.model.errors import Problem
from uici.model.selecting import MAX_LENGTH, SelectionSyntaxError, selector

WEBHOOK = "/webhooks/alertmanager"
MEBIBYTE = 1_048_576
ZEROS = b" " * (8 * MEBIBYTE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("bombs")) as served:
        yield served


COMPRESSED = {
    "gzip": gzip.compress(ZEROS),
    "deflate": zlib.compress(ZEROS),
    "br": b"\x1b\x00",
    "zstd": b"\x28\xb5\x2f\xfd",
    "gzip, gzip": gzip.compress(gzip.compress(ZEROS)),
    "compress": b"\x1f\x9d",
    "x-unknown": b"x",
}


@pytest.mark.parametrize(("coding", "content"), COMPRESSED.items(), ids=COMPRESSED.keys())
def test_nothing_is_unpacked(served: Served, coding: str, content: bytes) -> None:
    for path, role in ((WEBHOOK, Role.ALERTMANAGER), ("/api/v1/plans:preview", Role.ADMIN)):
        answer = served.request(
            "POST", path, served.tokens[role], content=content, headers={"Content-Encoding": coding}
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "unsupported_encoding")


def wide(count: int) -> str:
    return json.dumps({f"k{number}": number for number in range(count)})


NUMBERS = (
    "1e999999999",
    "-1e999999999",
    "9" * 5000,
    "1E400",
    "NaN",
    "Infinity",
    "-Infinity",
    "0x10",
    "01",
)
TWICE = '{"version":"4","alerts":[],"alerts":[]}'
ODD: dict[str, str] = {
    **{f"the number {number[:12]}": f'{{"version":"4","alerts":[],"x":{number}}}' for number in NUMBERS},
    "a key twice": TWICE,
    "a key twice, once in escapes": '{"version":"4","alerts":[],"alert\\u0073":[]}',
    "a key twice, deep": '{"version":"4","alerts":[],"x":[{"y":{"a":1,"a":2}}]}',
    "deep": '{"version":"4","alerts":[],"x":' + "[" * 30_000 + "]" * 30_000 + "}",
    "two documents": '{"version":"4","alerts":[]}{"version":"4","alerts":[]}',
    "a comment": '{"version":"4","alerts":[] /* */}',
    "a byte order mark": '\ufeff{"version":"4","alerts":[]}',
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_what_could_be_read_in_two_ways_is_refused_by_both_doors(served: Served, text: str) -> None:
    answer = served.request("POST", WEBHOOK, served.tokens[Role.ALERTMANAGER], content=text.encode())
    assert answer.status_code == 400, answer.text
    assert len(answer.content) < 5000, "an answer must not outgrow the question"
    answer = served.as_admin("POST", "/api/v1/plans:preview", content=text.encode())
    assert answer.status_code in (400, 413, 422), answer.text


def test_many_mistakes_make_a_short_answer(served: Served) -> None:
    content = json.dumps(notification(*[{}] * 20_000)).encode()[:-2] + b"]}"
    assert len(content) > MAX_BODY
    with pytest.raises(Problem) as caught:
        parse_notification(content, max_depth=32)
    assert len(caught.value.errors) <= 100
    answer = served.as_admin("POST", "/api/v1/runs", content=wide(3000).encode())
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) <= 100


def test_the_parser_holds_little_more_than_the_document() -> None:
    """Of 8 MiB that are nothing but brackets, commas or escapes the parser makes no gigabytes."""
    size = 8 * MEBIBYTE
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = b'{"version":"4","alerts":[],"x":'
    for filling in (b"[" * size, b'"' + b"\\u0061" * (size // 6) + b'"', b"9" * size, b"\\" * size):
        try:
            said = str(parse_notification(start + filling + b"}", max_depth=32))
        except Problem as problem:
            said = problem.detail
        assert len(said) < 1000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 400_000, f"{grown} KiB"


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{','.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(9)
)
YAML: dict[str, tuple[str, str]] = {
    "a billion laughs": (LAUGHS, "too_large"),
    "an alias to itself": ("a: &a [*a]", "recursive_alias"),
    "merge keys": ("a: &a {x: 1}\nb: {<<: *a}", "merge_refused"),
    "a tag": ("a: !!python/object/apply:os.system [id]", "tag_refused"),
    "another tag": ("a: !!python/name:os.system", "tag_refused"),
    "a custom tag": ("a: !include /etc/passwd", "tag_refused"),
    "deep": ("a: " + "[" * 5000 + "]" * 5000, "too_deep"),
    "deep by indentation": ("".join("\n" + " " * level + "a:" for level in range(2000)), "too_deep"),
    "a key twice": ("a: 1\na: 2", "duplicate_key"),
    "two documents": ("a: 1\n---\na: 2", "several_documents"),
}


@pytest.mark.parametrize(("text", "code"), YAML.values(), ids=YAML.keys())
def test_yaml_that_grows_or_does_something_is_refused(text: str, code: str) -> None:
    report = Report()
    read_bytes(text.encode(), "x.yml", report)
    assert code in [each.code for each in report]


def test_the_api_reads_no_yaml(served: Served) -> None:
    for text in (LAUGHS, "steps: []", "!!python/object/apply:os.system [id]"):
        answer = served.as_admin(
            "POST", "/api/v1/runs", content=text.encode(), headers={"Content-Type": "application/yaml"}
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")


@pytest.mark.timeout(60)
def test_a_selection_is_short_and_quick() -> None:
    with pytest.raises(SelectionSyntaxError):
        selector("a" * (MAX_LENGTH + 1))
    for piece in ("a.", "[0]", '["a"]', "[?a=", '[?["a"]', "[?a=1]", '["\\\\', "[?", '[?"', "a[?b=$parameters."):
        text = (piece * MAX_LENGTH)[:MAX_LENGTH]
        try:
            said = str(selector(text))
        except SelectionSyntaxError as error:
            said = str(error)
        assert len(said) < 3 * MAX_LENGTH


def test_the_largest_labels_are_taken_and_larger_ones_refused(served: Served) -> None:
    limits = LabelLimits()
    fitting = {"version": "4", "alerts": [alert("x" * limits.label_characters)]}
    assert parse_notification(json.dumps(fitting).encode(), max_depth=32).alerts
    for labels in ({"a": "x" * (limits.label_characters + 1)}, {f"l{one}": "" for one in range(limits.per_alert + 1)}):
        with pytest.raises(Problem):
            parse_notification(json.dumps(notification(alert(**labels))).encode(), max_depth=32)
    assert served.client.get("/healthz").is_success
