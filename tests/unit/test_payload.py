from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.real.components import payloads_folder, require_component
from uici.intake.payload import LabelLimits, fingerprint_of, parse_notification, parse_time
from uici.model.alert import AlertStatus
from uici.model.errors import Problem, ProblemKind


@pytest.fixture
def payloads() -> list[Path]:
    require_component("payloads")
    folder = payloads_folder()
    assert folder is not None
    return sorted(folder.glob("*.json"))


def _one(**changes: Any) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {"alertname": "Down"},
        "annotations": {},
        "startsAt": "2026-01-02T03:04:05.5Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://x",
        "fingerprint": "ab",
        **changes,
    }


def _body(*alerts: Any, **changes: Any) -> bytes:
    return json.dumps({"version": "4", "receiver": "r", "alerts": list(alerts), **changes}).encode()


def _refused(body: bytes, max_depth: int = 32) -> Problem:
    with pytest.raises(Problem) as caught:
        parse_notification(body, max_depth=max_depth)
    assert caught.value.kind is ProblemKind.INVALID
    return caught.value


@pytest.mark.component("payloads")
def test_every_captured_payload_is_read_with_its_own_fingerprints(payloads: list[Path]) -> None:
    assert payloads
    for path in payloads:
        body = path.read_bytes()
        raw = json.loads(body)
        notification = parse_notification(body, max_depth=32)
        assert notification.truncated_alerts == raw["truncatedAlerts"]
        assert notification.group_key == raw["groupKey"]
        for alert, given in zip(notification.alerts, raw["alerts"], strict=True):
            assert alert.labels == given["labels"]
            assert alert.annotations == given["annotations"]
            assert alert.status == given["status"]
            assert alert.starts_at.tzinfo is UTC
            assert (alert.ends_at is None) == (alert.status is AlertStatus.FIRING)
            # The captured fingerprints prove that ours are Alertmanager's.
            assert fingerprint_of(alert.labels) == alert.fingerprint


def test_a_missing_fingerprint_is_computed_as_alertmanager_does() -> None:
    labels = {
        "alertname": "InstanceDown", "cluster": "bench", "env": "test", "instance": "127.0.0.1:19301",
        "job": "victims", "severity": "critical", "team": "core",
    }  # fmt: skip
    given = _one(labels=labels)
    del given["fingerprint"]
    assert parse_notification(_body(given), max_depth=32).alerts[0].fingerprint == "b708f6c4714f94fc"
    assert fingerprint_of({}) == "cbf29ce484222325"


def test_unknown_fields_are_accepted_and_optional_ones_may_be_missing() -> None:
    given = _one(notification_reason="new", annotations=None)
    del given["generatorURL"], given["endsAt"]
    notification = parse_notification(_body(given, routeLabels={"a": {"b": 1}}, commonLabels=None), max_depth=32)
    assert notification.alerts[0].annotations == {}
    assert notification.alerts[0].ends_at is None
    assert notification.external_url == ""
    assert notification.truncated_alerts == 0


@pytest.mark.parametrize(
    "value", ["12e456789012", "0x10", "1_000", "", " x ", "${env:HOME}", "null", "Ünïcode\n", "😀"]
)
def test_label_values_keep_their_text(value: str) -> None:
    alert = parse_notification(_body(_one(labels={"a": value})), max_depth=32).alerts[0]
    assert alert.labels["a"] == value


@pytest.mark.parametrize("value", [1, 1.5, True, None, ["x"], {"x": "y"}])
def test_a_label_that_is_no_text_is_refused_and_never_converted(value: object) -> None:
    problem = _refused(_body(_one(labels={"a/b~c": value})))
    assert problem.where == "/alerts/0/labels/a~1b~0c"
    assert "never converted" in problem.detail


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"\xff{}", "not_utf8", "byte 0"),
        (b"", "not_json", "line 1 column 1"),
        (b'{"version": "4",\n  oops}', "not_json", "line 2 column 3"),
        (b'{"version": "4", "alerts": [], "x": NaN}', "not_json", "NaN"),
        (b'{"version": "4", "alerts": [], "x": -Infinity}', "not_json", "Infinity"),
        (b'{"version": "4", "alerts": [], "x": 1e999}', "not_json", "too large"),
        (b'{"version": "4", "alerts": [], "x": ' + b"9" * 5000 + b"}", "not_json", "digits"),
        (b'{"version": "4", "alerts": [], "alerts": []}', "not_json", "'alerts' is given twice"),
        (b"[]", "not_an_object", "a list"),
        (b'"x"', "not_an_object", "a text"),
        (b'{"alerts": []}', "unsupported_version", "missing"),
        (b'{"version": 4, "alerts": []}', "unsupported_version", '"4"'),
        (b'{"version": "3", "alerts": []}', "unsupported_version", "'3'"),
        (b'{"version": "4"}', "alerts_not_a_list", "missing"),
        (b'{"version": "4", "alerts": {}}', "alerts_not_a_list", "an object"),
    ],
)
def test_what_is_no_notification_is_refused_in_clear_words(body: bytes, code: str, words: str) -> None:
    problem = _refused(body)
    assert problem.code == code
    assert words in problem.detail


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"version":"4","alerts":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"a":"\\\\"' + b',"b":[' * 100_000,
    ],
)
def test_a_nested_bomb_is_refused_before_it_is_parsed(body: bytes) -> None:
    assert _refused(body).code == "too_deep"


def test_brackets_in_texts_are_not_nesting() -> None:
    text = '[{"' * 100 + "\\" + '"]}' * 7 + "\\\\"
    notification = parse_notification(_body(_one(labels={"a": text})), max_depth=4)
    assert notification.alerts[0].labels["a"] == text


def test_the_depth_that_is_allowed_is_exact() -> None:
    body = _body(x=[[1]])
    parse_notification(body, max_depth=3)
    assert _refused(body, max_depth=2).code == "too_deep"


def test_all_that_is_wrong_with_all_alerts_is_told_at_once() -> None:
    problem = _refused(
        _body(
            _one(status="fireing"),
            "x",
            _one(labels=None),
            _one(startsAt="yesterday", endsAt=5),
            _one(fingerprint="a\nb", generatorURL=7),
            _one(startsAt="0001-01-01T00:00:00Z"),
            truncatedAlerts=-1,
        )
    )
    assert [error["pointer"] for error in problem.errors] == [
        "/truncatedAlerts", "/alerts/0/status", "/alerts/1", "/alerts/2/labels", "/alerts/3/startsAt",
        "/alerts/3/endsAt", "/alerts/4/generatorURL", "/alerts/4/fingerprint", "/alerts/5/startsAt",
    ]  # fmt: skip
    assert "did you mean 'firing'" in problem.errors[1]["detail"]
    assert "and 8 more" in problem.detail


def test_the_list_of_problems_is_bounded() -> None:
    problem = _refused(_body(*[_one(status=1)] * 5000))
    assert len(problem.errors) == 100
    assert "4999 more" in problem.detail


def test_half_a_surrogate_pair_is_refused() -> None:
    body = _body(_one(labels={"a": "X"})).replace(b'"X"', b'"\\ud83d"')
    assert _refused(body).errors[0]["code"] == "not_unicode"


def test_limits_refuse_and_never_cut() -> None:
    limits = LabelLimits(per_alert=2, name_characters=5, label_characters=3, annotation_characters=9)
    for labels in ({"a": "1", "b": "2", "c": "3"}, {"abcdef": "1"}, {"a": "1234"}, {"": "x"}):
        with pytest.raises(Problem):
            parse_notification(_body(_one(labels=labels)), max_depth=32, limits=limits)
    parse_notification(_body(_one(labels={"a": "123"}, annotations={"a": "123456789"})), max_depth=32, limits=limits)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2026-01-02T03:04:05.37+02:00", datetime(2026, 1, 2, 1, 4, 5, 370000, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_times(text: str, expected: datetime | None) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-13-02T03:04:05Z",
        "2026-W01-1T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "\u0662\u0660\u0662\u0666-01-02T03:04:05Z",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_time(text)
