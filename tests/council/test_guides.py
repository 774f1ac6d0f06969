"""agent-0 with guides: it quotes a guide's sentence and names the guide, keeps it apart from what users told, and
says that it does not know otherwise.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from council.cli import app
from council.configuration import load
from council.memory.guide_index import SqliteIndex
from council.memory.guides import Guides, sections_of
from council.memory.texts import Language
from council.serving import make_app
from tests.council.ground import Ground, at_work, chat
from uici.catalogue.diagnostics import CatalogueError
from uici.model.guide import Guide

MEMORY = load(None).memory
LANGUAGE = Language(MEMORY.language, MEMORY.empty_words, MEMORY.kinds)
PAYMENT = """---
title: The payment service
alerts: ['service="payment"']
---
# What it is

It takes money. Its dashboard is green when all is well.

# Restart it safely

To restart the payment service safely, *drain* it at the `edge` balancer first. Then restart one instance after the
other:

```sh
uici run restart_service payment
```

Never restart all at once!

| who | when |
|---|---|
| Ada owns it | always |
"""
RESTART = "To restart the payment service safely, drain it at the `edge` balancer first."
NAMED = "(guide payment: The payment service)"
UNKNOWN = "I don't know."


class Folder:
    """A folder of guides whose files never have the time of another one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "guides"
        self.path.mkdir()
        self._times = count(1)

    def write(self, name: str, text: str) -> None:
        (self.path / f"{name}.md").write_text(text)
        os.utime(self.path / f"{name}.md", ns=(time := next(self._times), time))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.write("payment", PAYMENT)
    return made


@pytest.fixture
def ground(tmp_path: Path, folder: Folder) -> Iterator[Ground]:
    (tmp_path / "agents.yml").write_text("guides: {folder: guides}\nreload_seconds: 0.1\n")
    settings = load(tmp_path)
    with at_work(settings, tmp_path) as ground:
        yield ground


def kept(ground: Ground) -> list[dict[str, Any]]:
    facts: list[dict[str, Any]] = ground.http().get("/memory").json()["facts"]
    return facts


def asked(guides: Guides, question: str) -> str:
    found = guides.quoted(LANGUAGE.question(question))
    return found.answer if found is not None else UNKNOWN


@pytest.fixture
def guides(tmp_path: Path, folder: Folder) -> Iterator[Guides]:
    made = Guides(SqliteIndex(tmp_path / "guides.db"), folder.path, LANGUAGE, 0)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How do I restart the payment service safely?", RESTART),
        ("how can the payment service be restarted safely", RESTART),
        ("Who owns the payment service?", "Ada owns it"),
        ("What colour is the dashboard of the payment service?", "Its dashboard is green when all is well."),
        (
            "How are the instances of the payment service restarted?",
            "Then restart one instance after the other: uici run restart_service payment",
        ),
        ("Who wrote the payment service?", UNKNOWN),
        ("What colour is the payment service?", UNKNOWN),
        ("What colour is the balancer of the payment service?", UNKNOWN),
        ("Where does the payment service run?", UNKNOWN),
        ("How do I restart the search cluster?", UNKNOWN),
        ("What is the capital of France?", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_the_sentence_that_answers_is_quoted(guides: Guides, question: str, answer: str) -> None:
    assert asked(guides, question) == (UNKNOWN if answer == UNKNOWN else f"{answer} {NAMED}")


def test_a_guide_is_taken_apart_into_sections() -> None:
    guide = Guide(name="g", title="t", text="First.\n\n# A\n\n## B\n\n- one\n- two. three\n\n# C\n\nlast\n\n    code\n")
    assert [(section.heading, tuple(map(str, section.sentences))) for section in sections_of(guide)] == [
        ("", ("First.",)),
        ("A / B", ("one", "two.", "three")),
        ("C", ("last",)),
    ]


def test_it_is_asked_over_http_and_told_facts_stay_apart(ground: Ground, tmp_path: Path) -> None:
    assert chat(ground, "How do I restart the payment service safely?") == f"{RESTART} {NAMED}"
    assert chat(ground, "Who wrote the payment service?") == UNKNOWN
    # What is nearer to the asker comes first, and goes when it is forgotten; the guide cannot be.
    chat(ground, "We restart the payment service safely with a new deployment.")
    assert chat(ground, "How do I restart the payment service safely?").endswith("new deployment.")
    assert ground.http().delete("/memory", params={"all": "true"}).json() == {"forgotten": 1}
    assert chat(ground, "How do I restart the payment service safely?") == f"{RESTART} {NAMED}"
    assert kept(ground) == []
    # Neither the sentence nor the answer becomes a fact when somebody repeats it.
    for repeated in (RESTART, f"{RESTART} {NAMED}", RESTART.upper()):
        assert ground.http().post("/memory", json={"text": repeated}).json()["error"]["code"] == "duplicate"
    chat(ground, f"{RESTART} {NAMED}")
    assert kept(ground) == []
    with closing(sqlite3.connect(tmp_path / "state" / "memory.db")) as memory:
        tables = [name for (name,) in memory.execute("SELECT name FROM sqlite_master")]
    assert not [name for name in tables if "guide" in name]
    assert (tmp_path / "state" / "guides.db").stat().st_mode & 0o077 == 0


def test_a_change_is_taken_up_with_the_next_question_and_a_broken_one_is_not(guides: Guides, folder: Folder) -> None:
    folder.write("payment", PAYMENT.replace("Ada", "Grace"))
    assert "Grace" in asked(guides, "Who owns the payment service?")
    folder.write("payment", "no head\n")
    with capture_logs() as logs:
        for _ in range(4):
            assert "Grace" in asked(guides, "Who owns the payment service?")
    (told,) = [each for each in logs if each["event"] == "guides_rejected"]
    assert "payment.md:1:1: no_head" in told["first"]
    (folder.path / "payment.md").unlink()
    folder.write("other", "---\ntitle: The search cluster\n---\nLin owns it.\n")
    assert asked(guides, "Who owns the payment service?") == UNKNOWN
    assert asked(guides, "Who owns the search cluster?") == "Lin owns it. (guide other: The search cluster)"


def test_several_processes_share_the_index_and_make_it_once(guides: Guides, folder: Folder, tmp_path: Path) -> None:
    with capture_logs() as logs:
        other = Guides(SqliteIndex(tmp_path / "guides.db"), folder.path, LANGUAGE, 0)
    assert not [each for each in logs if each["event"] == "guides_indexed"]
    folder.write("payment", PAYMENT.replace("Ada", "Grace"))
    with capture_logs() as logs:
        for each in (guides, other, guides, other):
            asked(each, "Who owns the payment service?")
        assert "Grace" in asked(guides, "Who owns the payment service?")
    assert len([each for each in logs if each["event"] == "guides_indexed"]) == 1
    other.close()
    # With another language the stems are others.
    german = Language("german", (), {})
    with capture_logs() as logs:
        Guides(SqliteIndex(tmp_path / "guides.db"), folder.path, german, 0).close()
    assert [each["event"] for each in logs] == ["guides_indexed"]


def test_a_file_that_cannot_be_used_costs_the_guides_only(guides: Guides, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "guides.db") as other:
        other.execute("DROP TABLE guide_sections")
    other.close()
    with capture_logs() as logs:
        assert asked(guides, "Who owns the payment service?") == UNKNOWN
        assert not guides.quotes(RESTART)
    assert [each["event"] for each in logs] == ["guides_away"]
    assert "no such table" in logs[0]["error"]


def test_what_is_wrong_with_the_guides_is_told_before_the_council_serves(tmp_path: Path, folder: Folder) -> None:
    (tmp_path / "agents.yml").write_text("guides: {folder: guides}\n")
    assert CliRunner().invoke(app, ["check", "--config", str(tmp_path)]).exit_code == 0
    folder.write("payment", "---\ntitel: x\n---\n")
    done = CliRunner().invoke(app, ["check", "--config", str(tmp_path)])
    assert done.exit_code == 1
    assert "payment.md:2:1: unknown_key" in done.output
    assert "did you mean 'title'?" in done.output
    with pytest.raises(CatalogueError):
        make_app(load(tmp_path), tmp_path)
    (tmp_path / "agents.yml").write_text("guides: {folder: nowhere}\n")
    done = CliRunner().invoke(app, ["serve", "--config", str(tmp_path)])
    assert done.exit_code == 1
    assert "nowhere:1:1: unreadable_folder" in done.output
