"""Recall from the council's memory, by words and by vectors, beside FAISS asked directly."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import faiss
import numpy
import psutil

from council.configuration import load
from council.memory.fact_sqlite import SqliteFacts
from council.memory.fact_store import SHARED
from council.memory.facts import Facts
from council.memory.texts import Language
from council.memory.vector_index import SessionIndex
from council.memory.vectors import Vectors, number_of
from council.settings import VectorSettings
from tests.benchmarks.measuring import Figure, Ratio, Result, timed
from tests.waiting import until

_SIZES = (10_000, 100_000)
_COMPARED = 200_000
_DIMENSION = 384
_ASKED = 100
_LOOPS = 10
_WANTED = 10
_MIB = 2**20
_DIRECT = "FAISS asked directly"


def measure(folder: Path) -> Result:
    """The same random vectors in both; each fact has four words of a thousand, as facts of one domain have."""
    figures: list[Figure] = []
    ratios: list[Ratio] = []
    facts: dict[str, str | int | float] = {}
    for size in _SIZES:
        taken = _at(size, folder / f"memory-{size}.db")
        name = f"{size:,} facts"
        figures += [Figure.of(f"{name}: {how}", values) for how, values in taken.times.items()]
        beside = statistics.median(taken.times[_DIRECT])
        ratios += [
            Ratio(f"{name}: {how}, median", statistics.median(values), _DIRECT, beside, "ms")
            for how, values in taken.times.items()
            if how != _DIRECT
        ]
        facts[f"{name}: MiB more after {_LOOPS} loops of recall"] = round(taken.grown, 2)
    kinds = compared()
    figures += [Figure.of(f"{_COMPARED:,} vectors: {each.name}", each.times) for each in kinds]
    for each in kinds:
        facts[f"{_COMPARED:,} vectors: {each.name}"] = (
            f"recall@{_WANTED} {each.recall:.4f}, made in {each.built:.1f} s, one removed in {each.removed}"
        )
    return Result(name="recall", figures=tuple(figures), ratios=tuple(ratios), facts=facts)


@dataclass(frozen=True)
class _Taken:
    times: dict[str, list[float]]
    grown: float


def _at(size: int, file: Path) -> _Taken:
    shipped = load(None).memory.model_copy(update={"vectors": VectorSettings()})
    language = Language(shipped.language, shipped.empty_words, shipped.kinds)
    draw = numpy.random.default_rng(size)
    vectors = draw.standard_normal((size, _DIMENSION)).astype("float32")
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
    words = [[f"w{number}" for number in row] for row in draw.integers(0, 1000, (size, 4))]
    _fill(file, [" ".join(each) for each in words], vectors)
    memory = Facts(SqliteFacts(file), shipped, language, vectors=Vectors())
    packed = memory.packed("m", vectors[:_ASKED].tolist())  # with it the index is built from the store
    bare = faiss.IndexIDMap2(faiss.IndexFlatIP(_DIMENSION))
    bare.add_with_ids(vectors, numpy.arange(size, dtype="int64"))

    def by_vectors(number: int) -> None:
        if memory.near("a", SHARED, packed[number], _WANTED)[0][0].text != " ".join(words[number]):
            raise RuntimeError("the nearest of a vector is not itself")

    def by_words(number: int) -> None:
        memory.find("a", SHARED, words[number], _WANTED)

    times = {
        _DIRECT: _each(lambda number: bare.search(vectors[number : number + 1], _WANTED)),
        "by vectors": _each(by_vectors),
        "by words": _each(by_words),
    }
    before = psutil.Process().memory_info().rss
    for _ in range(_LOOPS):
        _each(by_vectors)
        _each(by_words)
    grown = (psutil.Process().memory_info().rss - before) / _MIB
    memory.close()
    return _Taken(times, grown)


def _each(ask: Callable[[int], object]) -> list[float]:
    numbers = cycle(range(_ASKED))
    return timed(lambda: ask(next(numbers)), count=_ASKED)


@dataclass(frozen=True)
class Kind:
    """One kind of index over the same vectors."""

    name: str
    times: list[float]
    recall: float
    built: float
    removed: str


def compared(size: int = _COMPARED) -> list[Kind]:
    """Kinds of indexes beside the exact one, and what the council makes of them by itself.

    The vectors lie about 2,000 topics in 48 directions, as those of texts do, with noise in all; of vectors without any
    such order no index but the exact one finds much, and the council then stays with it.
    """
    faiss.omp_set_num_threads(1)
    draw = numpy.random.default_rng(1)
    directions, topics = (draw.standard_normal(shape) for shape in ((48, _DIMENSION), (2000, 48)))

    def some(count: int) -> numpy.ndarray:
        near = topics[draw.integers(0, len(topics), count)] + 0.6 * draw.standard_normal((count, 48))
        rows = near @ directions / 48**0.5 + 0.15 * draw.standard_normal((count, _DIMENSION))
        return numpy.asarray(rows / numpy.linalg.norm(rows, axis=1, keepdims=True), dtype="float32")

    rows, asked, numbers = some(size), some(_ASKED), numpy.arange(size, dtype="int64")
    product, scalar = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer
    true: list[set[int]] = []
    # Its types lack what only some kinds of indexes have.
    whole: Any = faiss

    def kind(name: str, index: Any, *, own: bool = False) -> Kind:
        began = time.monotonic()
        if own:
            index.add(rows, numbers)
            until(lambda: index.settle() or index.in_cells, "the cells")
        else:
            index.train(rows[: 40 * 1024])
            index.add_with_ids(rows, numbers)
        built = time.monotonic() - began

        def ask(number: int) -> list[int]:
            row = asked[number : number + 1]
            if own:
                return [found for found, _ in index.search(row, _WANTED)]
            return list(map(int, index.search(row, _WANTED)[1][0]))

        found = [set(ask(number)) for number in range(_ASKED)]
        true.extend(found if not true else ())
        hits = sum(len(one & other) for one, other in zip(found, true, strict=True))
        times = _each(ask)
        began = time.monotonic()
        try:
            (index.remove if own else index.remove_ids)(numbers[:1])
            removed = f"{(time.monotonic() - began) * 1000:.2f} ms"
        except RuntimeError:
            removed = "no way: not supported"
        return Kind(name, times, hits / (_ASKED * _WANTED), built, removed)

    def cells(searched: int) -> Any:
        made: Any = faiss.index_factory(_DIMENSION, "IVF1024,Flat", product)
        made.set_direct_map_type(whole.DirectMap.Hashtable)
        made.nprobe = searched
        return made

    return [
        kind("flat", faiss.IndexIDMap2(faiss.IndexFlatIP(_DIMENSION))),
        kind("fp16", faiss.IndexIDMap2(faiss.IndexScalarQuantizer(_DIMENSION, scalar.QT_fp16, product))),
        kind("SQ8", faiss.IndexIDMap2(faiss.IndexScalarQuantizer(_DIMENSION, scalar.QT_8bit, product))),
        *(kind(f"IVF, {searched} of 1,024 cells searched", cells(searched)) for searched in (8, 32, 128)),
        kind("HNSW, 32 links", faiss.IndexIDMap2(faiss.IndexHNSWFlat(_DIMENSION, 32, product))),
        kind("the council's own", SessionIndex(faiss, numpy, _DIMENSION, size // 2, 0.98), own=True),
    ]


def _fill(file: Path, texts: list[str], vectors: numpy.ndarray) -> None:
    """Facts of one tenant, written as the store writes them; told one by one it would take an hour."""
    SqliteFacts(file).close()  # its tables
    ids = [f"{number:015x}{number:09x}" for number in range(1, len(texts) + 1)]
    with sqlite3.connect(file) as store:
        store.executemany(
            "INSERT INTO facts (number, id, tenant, session, text, digest, marked, told_at)"
            " VALUES (?, ?, 'a', '', ?, ?, 0, 1e12)",
            [(number, id_, text, id_) for number, (id_, text) in enumerate(zip(ids, texts, strict=True), 1)],
        )
        store.executemany("INSERT INTO fact_index (rowid, stems) VALUES (?, ?)", enumerate(texts, 1))
        store.executemany(
            "INSERT INTO vectors (number, tenant, session, model, vector) VALUES (?, 'a', '', ?, ?)",
            [(number_of(id_), f"m/{_DIMENSION}", vector.tobytes()) for id_, vector in zip(ids, vectors, strict=True)],
        )
