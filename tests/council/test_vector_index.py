"""Above a size a session's vectors are searched in cells: found nearly all the same, removed exactly, and by itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from council.memory.vector_index import SessionIndex
from council.memory.vectors import Stored, Vectors, number_of
from council.settings import VectorSettings
from tests.council.fact_places import Place, place
from tests.waiting import PATIENCE_SECONDS, until

__all__ = ["place"]
faiss = pytest.importorskip("faiss")
numpy = pytest.importorskip("numpy")

DIMENSION, SIZE, WANTED = 32, 4000, 10
SMALL = VectorSettings(exact_to=1000)


def topics(count: int, seed: int = 1) -> Any:
    """Vectors that lie about some topics, as those of texts do."""
    centres = numpy.random.default_rng(0).standard_normal((200, DIMENSION))
    draw = numpy.random.default_rng(seed)
    return unit(centres[draw.integers(0, 200, count)] + 0.4 * draw.standard_normal((count, DIMENSION)))


def unit(rows: Any) -> Any:
    return (rows / numpy.linalg.norm(rows, axis=1, keepdims=True)).astype("float32")


def stored(rows: Any, start: int = 0) -> Iterator[Stored]:
    return (Stored(start + number, "a", "one", row.tobytes()) for number, row in enumerate(rows))


def made(rows: Any, settings: VectorSettings = SMALL) -> Vectors:
    vectors = Vectors(settings)
    vectors.begin("m", DIMENSION)
    vectors.add(stored(rows))
    return vectors


def in_cells(vectors: Vectors) -> bool:
    return dict(vectors.kinds()) == {"exact": 0, "in_cells": 1}


def found(vectors: Vectors, row: Any) -> list[int]:
    return [number for number, _ in vectors.nearest("a", ["one"], row.tobytes(), WANTED)]


def recall(vectors: Vectors, rows: Any, asked: Any) -> float:
    """The part of what comparing all would find."""
    flat = faiss.IndexFlatIP(DIMENSION)
    flat.add(rows)
    _, true = flat.search(asked, WANTED)
    return sum(len(set(found(vectors, row)) & set(map(int, some))) for row, some in zip(asked, true, strict=True)) / (
        len(asked) * WANTED
    )


def test_above_its_size_it_goes_over_to_cells_and_finds_nearly_all_that_is_nearest() -> None:
    rows, asked = topics(SIZE), topics(100, seed=2)
    assert dict(made(rows[:1000]).kinds()) == {"exact": 1, "in_cells": 0}
    vectors = made(rows)
    assert recall(vectors, rows, asked) == 1.0, "until the cells are there, all are compared"
    until(lambda: in_cells(vectors), "the cells")
    assert 0.95 <= recall(vectors, rows, asked)
    assert [vectors.nearest("a", ["one"], row.tobytes(), 1)[0][0] for row in rows[:50]] == list(range(50))
    assert vectors.nearest("a", ["two"], rows[0].tobytes(), 1) == []


def test_what_changes_while_the_cells_are_made_and_after_is_in_them_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = topics(SIZE + 200)
    changed, cells = threading.Event(), SessionIndex._cells

    def late(index: SessionIndex, rows: Any, numbers: Any) -> Any:
        assert changed.wait(PATIENCE_SECONDS)
        return cells(index, rows, numbers)

    monkeypatch.setattr(SessionIndex, "_cells", late)
    vectors = made(rows[:SIZE])
    vectors.remove(range(100))
    vectors.add(stored(rows[SIZE : SIZE + 100], SIZE))
    vectors.remove([SIZE])
    assert dict(vectors.kinds()) == {"exact": 1, "in_cells": 0}
    changed.set()
    until(lambda: in_cells(vectors), "the cells")
    vectors.remove(range(100, 150))
    vectors.add(stored(rows[SIZE + 100 :], SIZE + 100))
    gone = {*range(150), SIZE}
    there = set(range(SIZE + 200)) - gone
    assert vectors.numbers == there
    seen = {number for row in rows for number in found(vectors, row)}
    assert seen <= there
    for number in (SIZE + 1, SIZE + 150, 150):
        assert found(vectors, rows[number])[0] == number
    vectors.remove(there)
    assert found(vectors, rows[200]) == []
    assert dict(vectors.kinds()) == {"exact": 0, "in_cells": 0}


def test_cells_are_made_of_one_session_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    both, cells = threading.Barrier(2), SessionIndex._cells
    alone: list[bool] = []

    def seen(index: SessionIndex, rows: Any, numbers: Any) -> Any:
        try:
            both.wait(0.2)
        except threading.BrokenBarrierError:
            alone.append(True)
        return cells(index, rows, numbers)

    monkeypatch.setattr(SessionIndex, "_cells", seen)
    vectors = made(topics(SIZE))
    vectors.add(Stored(SIZE + number, "a", "two", row.tobytes()) for number, row in enumerate(topics(SIZE)))
    until(lambda: dict(vectors.kinds()) == {"exact": 0, "in_cells": 2}, "the cells of both")
    assert alone == [True, True]


def test_what_has_shrunk_is_exact_again_and_what_has_grown_learns_anew() -> None:
    rows, asked = topics(5 * SIZE), topics(50, seed=2)
    vectors = made(rows[:SIZE])
    until(lambda: in_cells(vectors), "the cells")
    with capture_logs() as logs:
        vectors.add(stored(rows[SIZE:], SIZE))
        until(lambda: in_cells(vectors) and logs, "other cells")
    assert (logs[0]["event"], logs[0]["vectors"]) == ("vectors_in_cells", 5 * SIZE)
    assert recall(vectors, rows, asked) >= 0.95
    vectors.remove(range(400, 5 * SIZE))
    assert dict(vectors.kinds()) == {"exact": 1, "in_cells": 0}
    assert recall(vectors, rows[:400], asked) == 1.0


def test_where_cells_would_find_too_little_all_are_compared() -> None:
    """Vectors without any topics, of which no cell holds what is nearest."""
    rows = unit(numpy.random.default_rng(3).standard_normal((SIZE, DIMENSION)))
    with capture_logs() as logs:
        vectors = made(rows, VectorSettings(exact_to=1000, least_recall=1.0))
        until(lambda: logs, "it to be tried")
    assert logs[0]["event"] == "vectors_stay_exact"
    assert logs[0]["recall"] < 1.0
    assert recall(vectors, rows, rows[:50]) == 1.0
    assert dict(vectors.kinds()) == {"exact": 1, "in_cells": 0}


def test_another_model_leaves_nothing_of_cells_that_are_being_made() -> None:
    vectors = made(topics(SIZE))
    vectors.begin("other", 2)
    vectors.add([Stored(1, "a", "one", numpy.array([1, 0], "float32").tobytes())])
    assert [number for number, _ in vectors.nearest("a", ["one"], numpy.array([1, 0], "float32").tobytes(), 5)] == [1]


def test_facts_in_cells_are_rebuilt_from_the_store_and_forgotten_exactly(place: Place) -> None:
    count = 150
    rows = topics(count)
    settings = VectorSettings(exact_to=100, least_recall=0.5, alike_cosine=1.0)
    first = place.facts(vectors=Vectors(settings), flush_seconds=60.0, flush_count=count + 1, alike=1.0)
    first.packed("m", [rows[0].tolist()])
    told = [first.tell("a", "one", f"w{number}", row.tobytes()) for number, row in enumerate(rows)]
    place.close(first)
    vectors = Vectors(settings)
    facts = place.facts(vectors=vectors)
    vector = facts.packed("m", [rows[7].tolist()])[0]
    assert facts.near("a", "one", vector, 1)[0][0].text == "w7"
    until(lambda: in_cells(vectors), "the cells")
    assert facts.near("a", "one", vector, 1)[0][0].text == "w7"
    assert facts.forget("a", fact=told[7].id) == 1
    assert "w7" not in [fact.text for fact, _ in facts.near("a", "one", vector, 50)]
    assert number_of(told[7].id) not in vectors.numbers
    assert len(vectors.numbers) == count - 1
