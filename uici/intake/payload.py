"""From the bytes of a webhook body to a `Notification`, or to one `Problem` that names everything wrong with it.

The format is Alertmanager's webhook, version 4 (https://prometheus.io/docs/alerting/latest/configuration/#webhook_config).
Values are checked here by hand and the frozen types are built without a second validation: this is the hot path.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import NoReturn

from pydantic_core import from_json

from uici.model.alert import Alert, AlertStatus, Notification
from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.errors import Problem, ProblemKind, did_you_mean

VERSION = "4"
"""The one version of the format; Alertmanager has sent it since 0.6."""

_REPORTED = 100  # enough to see the pattern; an answer must not outgrow the question
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_ODD_NUMBER = re.compile(rb"[0-9][.eE]|[0-9]{18}")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")  # an escape, not an escaped backslash before the same letters
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_STATUSES = {status.value: status for status in AlertStatus}


class LabelLimits(Frozen):
    """Generous bounds that no honest sender meets; what exceeds them is refused, never cut."""

    per_alert: int = 1024
    """Labels, and likewise annotations, of one alert."""
    name_characters: int = 1024
    label_characters: int = 65_536
    annotation_characters: int = 1_048_576


def parse_notification(body: bytes, *, max_depth: int, limits: LabelLimits | None = None) -> Notification:
    """Parse one webhook body.

    `max_depth` counts nested objects and lists; it is checked before any recursive parser sees the body.
    Fields that are not known are accepted, label values are kept exactly as they are, but for the character NUL, which
    becomes U+FFFD: PostgreSQL does not have it, and a refusal would keep all other alerts of the body from being healed
    by a label that whoever writes a metric can choose. Raises `Problem` of kind INVALID; the problems of the single
    fields and alerts are all in its `errors`, each with a JSON pointer.
    """
    document = _decode(_NUL.sub(rb"\1\\ufffd", body) if b"\\u0000" in body else body, max_depth)
    if not isinstance(document, dict):
        raise _invalid("not_an_object", f"the body is {_kind(document)}; a notification is a JSON object")
    version = document.get("version")
    if version != VERSION:
        given = "missing" if "version" not in document else f"{version!r}"[:80]
        raise _invalid(
            "unsupported_version",
            f'version is {given}; only the text "{VERSION}" is understood',
            where="/version",
            allowed=(VERSION,),
        )
    alerts = document.get("alerts")
    if not isinstance(alerts, list):
        given = "missing" if "alerts" not in document else _kind(alerts)
        raise _invalid("alerts_not_a_list", f"alerts is {given}; it must be a list of alerts", where="/alerts")
    report = _Report(limits or LabelLimits())
    receiver = report.text(document, "receiver", "")
    group_key = report.text(document, "groupKey", "")
    external_url = report.text(document, "externalURL", "")
    truncated = document.get("truncatedAlerts", 0)
    if type(truncated) is not int or truncated < 0:
        report.add("/truncatedAlerts", "not_a_count", f"must be a whole number of 0 or more, not {truncated!r:.80}")
    read = [_alert(alert, number, report) for number, alert in enumerate(alerts)]
    report.raise_if_any()
    return Notification(
        receiver=receiver,
        group_key=group_key,
        external_url=external_url,
        alerts=tuple([alert for alert in read if alert is not None]),  # all, since nothing was reported
        truncated_alerts=truncated,
    )


def fingerprint_of(labels: dict[str, str]) -> str:
    """The fingerprint that Alertmanager gives a label set, as 16 hexadecimal digits.

    FNV-1a, 64 bits, over each label by name: name, 0xff, value, 0xff. Source: `labelSetToFingerprint` in
    https://github.com/prometheus/common/blob/main/model/signature.go
    """
    value = 0xCBF29CE484222325
    for name in sorted(labels, key=str.encode):  # Go sorts bytes
        for byte in b"%b\xff%b\xff" % (name.encode(), labels[name].encode()):
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


@lru_cache(maxsize=4096)
def parse_time(text: str) -> datetime | None:
    """An RFC 3339 time as aware UTC, cut to microseconds; None for the year 0001, Go's word for "not set".

    Raises ValueError when `text` is not such a time.
    """
    if _RFC3339.fullmatch(text) is None:
        raise ValueError(f"{text[:80]!r} is not an RFC 3339 time such as 2026-01-31T12:00:00.5Z")
    try:
        parsed = datetime.fromisoformat(text.upper())
        return None if parsed.year == 1 else parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text[:80]!r} is not a time that exists: {error}") from None


class _Report:
    """Collects what is wrong with a notification, so that all of it is said at once."""

    def __init__(self, limits: LabelLimits) -> None:
        self.labels = (limits.per_alert, limits.name_characters, limits.label_characters)
        self.annotations = (limits.per_alert, limits.name_characters, limits.annotation_characters)
        self.errors: list[JsonObject] = []
        self.count = 0

    def add(self, pointer: str, code: str, detail: str) -> None:
        """Note one problem."""
        self.count += 1
        if len(self.errors) < _REPORTED:
            self.errors.append({"pointer": pointer, "code": code, "detail": detail})

    def text(self, document: JsonObject, name: str, prefix: str) -> str:
        """An optional text field; the empty text when it is missing or null."""
        value = document.get(name)
        if type(value) is str:
            if value.isascii() or _LONE_SURROGATE.search(value) is None:
                return value
            self.add(f"{prefix}/{name}", "not_unicode", "holds half a surrogate pair, which is no character")
        elif value is not None:
            self.add(f"{prefix}/{name}", "not_a_text", f"must be a text, not {_kind(value)}")
        return ""

    def raise_if_any(self) -> None:
        """Raise the one Problem that holds everything noted."""
        if not self.count:
            return
        first = self.errors[0]
        more = f"; and {self.count - 1} more" if self.count > 1 else ""
        raise _invalid(
            "invalid_notification",
            f"{first['pointer']}: {first['detail']}{more}",
            where=str(first["pointer"]),
            errors=tuple(self.errors),
            hint="" if self.count <= _REPORTED else f"only the first {_REPORTED} problems are listed",
        )


def _alert(alert: JsonValue, number: int, report: _Report) -> Alert | None:
    before = report.count
    prefix = f"/alerts/{number}"
    if not isinstance(alert, dict):
        report.add(prefix, "not_an_object", f"an alert is a JSON object, not {_kind(alert)}")
        return None
    given = alert.get("status")
    status = _STATUSES.get(given) if isinstance(given, str) else None
    if status is None:
        hint = did_you_mean(given, _STATUSES) if isinstance(given, str) else ""
        report.add(f"{prefix}/status", "unknown_status", f"must be firing or resolved, not {given!r:.80}{hint}")
    labels = _texts(alert.get("labels"), f"{prefix}/labels", report.labels, report)
    # Go writes an empty map that was never made as null.
    given = alert.get("annotations")
    annotations = {} if given is None else _texts(given, f"{prefix}/annotations", report.annotations, report)
    starts_at = _time(alert, "startsAt", prefix, report)
    if starts_at is None and report.count == before:
        report.add(f"{prefix}/startsAt", "missing_time", "must be an RFC 3339 time after the year 0001")
    ends_at = _time(alert, "endsAt", prefix, report)
    generator_url = report.text(alert, "generatorURL", prefix)
    fingerprint = report.text(alert, "fingerprint", prefix)
    if len(fingerprint) > 256 or (not fingerprint.isalnum() and _CONTROL.search(fingerprint)):
        report.add(f"{prefix}/fingerprint", "bad_fingerprint", "must be at most 256 characters, none of them control")
    if report.count != before or status is None or starts_at is None:
        return None
    return Alert(
        fingerprint=fingerprint or fingerprint_of(labels),
        status=status,
        labels=labels,
        annotations=annotations,
        starts_at=starts_at,
        ends_at=ends_at,
        generator_url=generator_url,
    )


def _texts(given: JsonValue, where: str, limits: tuple[int, int, int], report: _Report) -> dict[str, str]:
    if not isinstance(given, dict):
        report.add(where, "not_an_object", f"must be an object of texts, not {_kind(given)}")
        return {}
    most, longest_name, longest = limits
    if len(given) <= most and _plain(given, longest_name, longest):
        return given
    if len(given) > most:
        report.add(where, "too_many", f"has {len(given)} entries; at most {most} are accepted")
        return {}
    for name, value in given.items():
        if type(value) is not str:
            # A label that is coerced can become another label: 12e4567 is a name, not infinity.
            detail = f"must be a text, not {_kind(value)}; values are never converted"
            report.add(f"{where}/{_pointer(name)}", "not_a_text", detail)
        elif not name or len(name) > longest_name or len(value) > longest:
            detail = f"a name has 1 to {longest_name} characters and its value at most {longest}"
            report.add(f"{where}/{_pointer(name)}", "too_long" if name else "empty_name", detail)
        elif not (value.isascii() and name.isascii()) and _LONE_SURROGATE.search(name + value):
            detail = "holds half a surrogate pair, which is no character"
            report.add(f"{where}/{_pointer(name)}", "not_unicode", detail)
    return given


def _plain(given: JsonObject, longest_name: int, longest: int) -> bool:
    """Whether all values are texts, and even all together are short and ASCII: then nothing is wrong with any."""
    try:
        values = "".join(given.values())
    except TypeError:
        return False
    names = "".join(given)
    return (
        len(values) <= longest
        and len(names) <= longest_name
        and values.isascii()
        and names.isascii()
        and "" not in given
    )


def _time(alert: JsonObject, name: str, prefix: str, report: _Report) -> datetime | None:
    given = alert.get(name)
    if given is None:
        return None
    if not isinstance(given, str):
        report.add(f"{prefix}/{name}", "not_a_time", f"must be an RFC 3339 time as a text, not {_kind(given)}")
        return None
    try:
        return parse_time(given)
    except ValueError as error:
        report.add(f"{prefix}/{name}", "not_a_time", str(error))
        return None


def _decode(body: bytes, max_depth: int) -> JsonValue:
    outside_texts = _outside_texts(body)
    deepest = _depth(outside_texts)
    if deepest > max_depth:
        _text_of(body)  # what is no text at all has no depth either
        raise _invalid("too_deep", f"the body is nested {deepest} levels deep; at most {max_depth} are accepted")
    colons = outside_texts.count(b":")
    if _ODD_NUMBER.search(outside_texts) is None:
        try:
            document = from_json(body, allow_inf_nan=False, cache_strings="keys")
        except ValueError:
            return _decode_slowly(body)
        if _usual_entries(document) == colons or _entries(document) == colons:
            return document
    # What is left is wrong, or holds numbers that the fast parser takes for infinite. Only the slow way can say which.
    return _decode_slowly(body)


def _text_of(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid("not_utf8", f"the body is not UTF-8: byte {error.start} cannot be decoded") from None


def _decode_slowly(body: bytes) -> JsonValue:
    text = _text_of(body)
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        detail = f"the body is not JSON: {error.msg}, line {error.lineno} column {error.colno}"
        raise _invalid("not_json", detail, where=f"line {error.lineno} column {error.colno}") from None
    except ValueError as error:  # a repeated key, NaN, or a number of thousands of digits
        raise _invalid("not_json", f"the body is not JSON as RFC 8259 means it: {error}") from None


def _outside_texts(body: bytes) -> bytes:
    """The body without its texts.

    Up to the first syntax error this splits the body as a parser does, and a parser gets no further.
    """
    # Backslashes pair off from the left; what then still stands before a quote escapes it.
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    return b"".join(unescaped.split(b'"')[::2])


def _depth(outside_texts: bytes) -> int:
    """The deepest nesting that a parser could reach, found without recursion."""
    depth = deepest = 0
    for byte in outside_texts.translate(None, _NOT_BRACKETS):
        if byte in b"[{":
            depth += 1
            if depth > deepest:
                deepest = depth
        else:
            depth -= 1
    return deepest


def _usual_entries(document: JsonValue) -> int:
    """As `_entries`, of a notification that holds nothing but what Alertmanager sends; else fewer, or -1."""
    try:
        count = sum([len(alert) + len(alert["labels"]) + len(alert["annotations"]) for alert in document["alerts"]])
        return count + len(document) + sum([len(value) for value in document.values() if type(value) is dict])
    except (TypeError, KeyError):
        return -1


def _entries(document: JsonValue) -> int:
    """How many entries all objects of a parsed document have together. Outside of texts each has one colon, and a key
    that is given twice in one object makes one entry of two colons.
    """
    count = 0
    waiting: list[JsonValue] = [document]
    while waiting:
        value = waiting.pop()
        if type(value) is dict:
            count += len(value)
            waiting.extend(item for item in value.values() if type(item) is dict or type(item) is list)
        elif type(value) is list:
            waiting.extend(value)
    return count


def _object(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    made = dict(pairs)
    if len(made) != len(pairs):
        repeated = next(name for name, again in _repeats(pairs) if again)
        raise ValueError(f"the key {repeated[:80]!r} is given twice in one object")
    return made


def _repeats(pairs: list[tuple[str, JsonValue]]) -> Iterator[tuple[str, bool]]:
    seen: set[str] = set()
    for name, _ in pairs:
        yield name, name in seen
        seen.add(name)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _pointer(name: str) -> str:
    return name[:200].replace("~", "~0").replace("/", "~1").encode("utf-8", "replace").decode()


def _kind(value: JsonValue) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "an object"


def _invalid(
    code: str,
    detail: str,
    *,
    where: str = "",
    allowed: tuple[str, ...] = (),
    hint: str = "",
    errors: tuple[JsonObject, ...] = (),
) -> Problem:
    return Problem(ProblemKind.INVALID, code, detail, where=where, allowed=allowed, hint=hint, errors=errors)
