"""What is shown holds no secret, and nothing else is changed."""

from __future__ import annotations

import base64
import html
import json
import shlex
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from uici.access.secrets import resolve, resolve_tree
from uici.model.masking import MASK, MOST_REGISTERED, hide_known_in, mask, register_named, register_secret

# --- by the name above them -------------------------------------------------------------------------------------------


def test_secrets_are_masked_by_the_name_above_them() -> None:
    shown = mask(
        {
            "environment": {"API_KEY": "k", "DB_PASSWORD": "p", "COLOUR": "blue", "EMPTY_TOKEN": ""},
            "env": ["AUTH_TOKEN=abc", "COLOUR=blue", "not an assignment: token"],
            "credentials": {"user": "u", "list": ["a", 1, None]},
            "Authorization": "Bearer x",
            "api-key": "${env:KEY}",
            "url": "postgres://user:pw@host/db",
            "plain": [1, True, None, "text"],
        }
    )
    assert shown == {
        "environment": {"API_KEY": MASK, "DB_PASSWORD": MASK, "COLOUR": "blue", "EMPTY_TOKEN": ""},
        "env": [f"AUTH_TOKEN={MASK}", "COLOUR=blue", "not an assignment: token"],
        "credentials": {"user": MASK, "list": [MASK, MASK, None]},
        "Authorization": MASK,
        "api-key": "${env:KEY}",
        "url": f"postgres://user:{MASK}@host/db",
        "plain": [1, True, None, "text"],
    }


def test_masking_changes_nothing_in_place() -> None:
    value = {"token": "t", "list": [{"secret": "s"}]}
    mask(value)
    assert value == {"token": "t", "list": [{"secret": "s"}]}


# --- in texts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("DB_PASSWORD=abc123 port=5", "abc123"),
        ('{"api_key": "abc123"}', "abc123"),
        ("token: abc123;", "abc123"),
        ("Authorization: Bearer abc123def", "abc123def"),
        ("postgres://user:abc123@db/x", "abc123"),
        ("secret='abc 123'", "abc 123"),
        ("Basic dXNlcjphYmMxMjM=", "dXNlcjphYmMxMjM"),
        ("DB_PASSWORD: ['abc123'] is not of type 'string'", "abc123"),
    ],
)
def test_what_looks_like_a_secret_is_mask(text: str, hidden: str) -> None:
    assert hidden not in mask(text)
    assert hidden not in json.dumps(mask({"lines": [text], "n": 5}))


@pytest.mark.parametrize("text", ["the token bucket is empty", "passing 5 = 5", "port=5", "http://db:80/x", "basic"])
def test_plain_words_stay(text: str) -> None:
    assert mask(text) == text


def test_keys_that_name_secrets_hide_their_values_and_types_stay() -> None:
    assert mask({"password": "x", "count": 5, "ok": True, "none": None, "f": (1.5,)}) == {
        "password": MASK, "count": 5, "ok": True, "none": None, "f": [1.5],
    }  # fmt: skip


def test_masking_costs_no_more_than_the_length_of_the_text() -> None:
    started = time.process_time()
    for text in ("a" * 500_000, "://" * 100_000, "token " * 100_000, 'secret="' * 60_000, "Bearer " * 80_000):
        mask(text)
    assert time.process_time() - started < 20  # quadratic behaviour would take hours


def test_a_quadratic_reading_of_repeated_names_would_show() -> None:
    started = time.process_time()
    for text in (
        "token_" * 100_000,
        "token_ " * 100_000,
        "://a:" * 100_000,
        "password=\\" * 100_000,
        "secret='" * 90_000,
    ):
        mask(text)
    assert time.process_time() - started < 20


@pytest.mark.parametrize(
    "text",
    [
        "password: ${env:DB_PASSWORD}",
        "DB_PASSWORD=${file:/run/secrets/db}",
        "postgres://user:${env:DB_PASSWORD}@db/x",
        "passed: 5, tokens: 7, token_bucket: 9",
        "token_count: 12",
        "send `Authorization: Bearer TOKEN`",
        f"it said password='{MASK}'",
    ],
)
def test_references_measures_and_what_is_masked_already_stay(text: str) -> None:
    assert mask(text) == text
    assert mask([text, {"x": text}]) == [text, {"x": text}]


def test_texts_keep_what_stands_around_a_secret() -> None:
    assert mask('retrying {"api_key": "abc", "port": 5} now') == f'retrying {{"api_key": "{MASK}", "port": 5}} now'
    assert mask("postgres://user:p@ss@db:5432/x?a=b") == f"postgres://user:{MASK}@db:5432/x?a=b"
    assert mask("DB_PASSWORD_OLD=abc123 x", []) == f"DB_PASSWORD_OLD={MASK}"
    assert mask("a DB_PASSWORD_OLD=abc123 x") == f"a DB_PASSWORD_OLD={MASK} x"


@pytest.mark.parametrize("text", ['password="cut off her', "line: secret='cut off her", r"{\"api_key\": \"cut off her"])
def test_a_text_that_was_cut_off_shows_no_half_of_a_secret(text: str) -> None:
    assert "cut off" not in mask(text)


def test_the_argument_after_a_secret_option_is_hidden() -> None:
    command = ["/bin/web", "--token", "abc", "--verbose", "-p", "80", "--password", "--quiet", "--api-key=abc"]
    assert mask(command) == [
        "/bin/web", "--token", MASK, "--verbose", "-p", "80", "--password", "--quiet", f"--api-key={MASK}",
    ]  # fmt: skip


# --- by their value -----------------------------------------------------------------------------------------------


def test_given_secrets_are_hidden_in_keys_and_texts_but_very_short_ones() -> None:
    assert mask({"x-hush": ["a hush b", 5]}, ["hush", "b", ""]) == {f"x-{MASK}": [f"a {MASK} b", 5]}
    assert mask("one and one-and-more", ["one-and-more", "one-", "abcd"]) == f"one and {MASK}"


def test_registered_secrets_are_hidden_as_they_are_quoted_and_line_by_line() -> None:
    first, second = f'p"q/{uuid.uuid4()}', f"second {uuid.uuid4()}"
    register_secret(f"{first}\n  {second}\n")
    shown = json.dumps(mask([first, json.dumps({"x": first}), second, f"{second}".replace(" ", "%20")]))
    assert str(first[4:]) not in shown
    assert second[7:] not in shown
    register_secret("short")
    assert mask("short") == "short"


def test_a_secret_is_hidden_from_the_moment_it_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value, other = uuid.uuid4().hex, uuid.uuid4().hex
    monkeypatch.setenv("CANARY", value)
    (tmp_path / "secret").write_text(f"{other}\n")
    assert mask(f"it says {value} and {other}") == f"it says {value} and {other}"
    assert resolve("${env:CANARY}").reveal() == value
    resolved: Any = resolve_tree({"x": [f"${{file:{tmp_path}/secret}}"]})
    assert resolved == {"x": [other]}
    assert mask(f"it says {value} and {other}") == f"it says {MASK} and {MASK}"


@pytest.mark.parametrize("before", ["", "u", "us", "user:", "a longer one "])
@pytest.mark.parametrize("after", ["", "1", "12", " and more"])
def test_registered_secrets_are_hidden_in_every_way_of_writing(before: str, after: str) -> None:
    secret = f'wr1tten/"many" wäys+{uuid.uuid4().hex}'
    register_secret(secret)
    text = before + secret + after
    content = text.encode()
    for written in (
        text, quote(text), quote(text, safe=""), quote_plus(text), json.dumps(text),
        json.dumps(text, ensure_ascii=False),
        repr(text), shlex.quote(text), html.escape(text), content.hex(), content.hex().upper(),
        base64.b64encode(content).decode(), base64.urlsafe_b64encode(content).decode(),
    ):  # fmt: skip
        shown = mask(f"x {written} y")
        assert MASK in shown, written
        # Of base64 the characters at both ends hold bits of what stands beside it.
        assert len(shown) <= len(f"x {before} {after} y") * 2 + len(MASK) + 8, shown
        assert secret[-20:] not in shown


def test_values_under_a_secret_name_are_hidden_without_it_from_then_on() -> None:
    value, reference, plain = uuid.uuid4().hex, "${env:SOME_SECRET}", uuid.uuid4().hex
    register_named({"a": [{"environment": {"DB_PASSWORD": value, "API_TOKEN": reference, "NAME": plain}}]})
    assert mask(f"{value} {reference} {plain}") == f"{MASK} {reference} {plain}"


def test_of_too_many_secrets_those_go_first_that_only_a_name_told_of() -> None:
    resolved = f"resolved-{uuid.uuid4().hex}"
    register_secret(resolved)
    named = {f"password_{number}": f"{number}-{uuid.uuid4().hex}" for number in range(MOST_REGISTERED + 10)}
    register_named(named)
    assert mask(f"a {resolved} b") == f"a {MASK} b"
    hidden = [value for value in named.values() if value not in mask(f"= {value} =")]
    assert 0 < len(hidden) < MOST_REGISTERED


def test_what_a_sender_wrote_loses_registered_secrets_and_nothing_else() -> None:
    secret = f"s3-{uuid.uuid4().hex}"
    words = {"pod": "web-1", "token": "abcdefgh", "": "x"}
    assert hide_known_in(words) == words
    register_secret(secret)
    assert hide_known_in(words) is words
    assert hide_known_in({**words, "summary": f"at {secret}!", f"a{secret}": "b"}) == {
        **words,
        "summary": f"at {MASK}!",
        f"a{MASK}": "b",
    }
    register_secret(f"two\0parts-{secret[:6]}")  # over the border of two texts it stands nowhere
    assert hide_known_in({"a": "two", "b": f"parts-{secret[:6]}"}) == {"a": "two", "b": f"parts-{secret[:6]}"}
