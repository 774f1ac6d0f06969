import copy
import pickle
from pathlib import Path

import pytest

from uici.access.secrets import SecretText, resolve, resolve_tree
from uici.model.errors import Problem

VALUE = "s3cret-Value"


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UICI_TEST_SECRET", VALUE)
    assert resolve("${env:UICI_TEST_SECRET}").reveal() == VALUE


@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n"])
def test_a_file_loses_only_its_trailing_line_ends(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes((" " + VALUE + " " + ending).encode())
    assert resolve(f"${{file:{file}}}").reveal() == f" {VALUE} "


def test_a_secret_shows_itself_nowhere() -> None:
    secret = SecretText(VALUE)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>40}", repr([secret])]
    assert not any(VALUE in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.copy(secret)
    assert secret == SecretText(VALUE)
    assert secret != SecretText("other")
    assert secret != VALUE


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("${env:UICI_SURELY_NOT_SET}", "secret_missing"),
        ("${file:/nowhere/at/all}", "secret_missing"),
        ("${file:relative/path}", "secret_unreadable"),
        ("${keyring:thing}", "unknown_secret_provider"),
        ("hunter2", "not_a_secret_reference"),
    ],
)
def test_what_cannot_be_resolved_is_a_problem(reference: str, code: str) -> None:
    with pytest.raises(Problem) as caught:
        resolve(reference, where="platform.yml:3:9")
    assert caught.value.code == code
    assert caught.value.where == "platform.yml:3:9"


def test_a_secret_written_where_a_reference_belongs_is_not_repeated() -> None:
    with pytest.raises(Problem) as caught:
        resolve("hunter2")
    assert "hunter2" not in caught.value.detail


def test_a_mistyped_provider_gets_a_suggestion() -> None:
    with pytest.raises(Problem, match="did you mean 'file'") as caught:
        resolve("${fiel:/x}")
    assert set(caught.value.allowed) >= {"env", "file"}


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe" + VALUE.encode(), b"x" * 70_000])
def test_unusable_files_never_show_their_content(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(Problem) as caught:
        resolve(f"${{file:{file}}}")
    assert VALUE not in caught.value.detail
    assert caught.value.__cause__ is None


def test_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UICI_TEST_SECRET", VALUE)
    document = {
        "url": "tcp://x",
        "auth": {"password": "${env:UICI_TEST_SECRET}"},
        "many": ["${env:UICI_TEST_SECRET}", 3],
    }
    assert resolve_tree(document) == {"url": "tcp://x", "auth": {"password": VALUE}, "many": [VALUE, 3]}
    assert document["auth"] == {"password": "${env:UICI_TEST_SECRET}"}


def test_tree_tells_all_that_is_missing_at_once() -> None:
    with pytest.raises(Problem) as caught:
        resolve_tree({"a/b": "${env:UICI_NOT_ONE}", "list": [0, "${env:UICI_NOT_TWO}"]})
    assert [each["pointer"] for each in caught.value.errors] == ["/a~1b", "/list/1"]
