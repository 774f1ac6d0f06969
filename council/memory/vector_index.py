"""The index of one session's vectors: exact, and from a size on in cells of which only the nearest are searched.

Cells are made beside the exact index, by a thread of their own, and take its place only when they find as much as is
wanted of what is nearest to vectors of the session itself. docs/benchmarks.md has the measurements behind the choice.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import structlog

_log = structlog.get_logger(__name__)
_making = threading.Lock()
"""Cells are made of one session after the other: at a start all large ones want them at once."""
_CELLS = 2.0
"""Times the square root of the number of vectors: how many cells there are."""
_TRAINED_BY = 40
"""Vectors for each cell, from which the cells are learnt, in so many rounds:"""
_ROUNDS = 10
_SEARCHED = (8, 16, 32, 64, 128, 256)
"""How many cells may be searched."""
_SAMPLE, _WANTED = 100, 10
_ANEW = 4
"""When there are so many times the vectors, the cells are learnt anew."""


class _Build:
    """Cells that are being made; what changes meanwhile."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.changes: list[tuple[Any, Any]] = []
        """Rows and numbers of what was added; without rows of what was removed."""
        self.made: Any = None
        self.done = threading.Event()


class SessionIndex:
    """Inner products. Not for several threads."""

    def __init__(self, faiss: Any, numpy: Any, dimension: int, exact_to: int, least_recall: float) -> None:
        self._faiss = faiss
        self._numpy = numpy
        self._dimension = dimension
        self._exact_to = exact_to
        self._least_recall = least_recall
        self._index = self._exact()
        self._build: _Build | None = None
        self._build_above = exact_to
        self.in_cells = False

    @property
    def size(self) -> int:
        """How many vectors are in it."""
        return int(self._index.ntotal)

    def add(self, rows: Any, numbers: Any) -> None:
        """Take in what is not in it."""
        self.settle()
        self._index.add_with_ids(rows, numbers)
        if self._build is not None:
            self._build.changes.append((rows, numbers))
        elif self.size > self._build_above:
            self._begin()

    def remove(self, numbers: Any) -> None:
        """Nothing is left of these."""
        self.settle()
        self._index.remove_ids(numbers)
        if self._build is not None:
            self._build.changes.append((None, numbers))
        elif self.in_cells and self.size < self._exact_to // 2:
            rows, left = self._content()
            self._index, self.in_cells, self._build_above = self._exact(), False, self._exact_to
            self._index.add_with_ids(rows, left)

    def search(self, row: Any, limit: int) -> list[tuple[int, float]]:
        """The nearest with their inner products."""
        self.settle()
        products, numbers = self._index.search(row, min(limit, self.size))
        found = zip(map(int, numbers[0]), map(float, products[0]), strict=True)
        return [(number, product) for number, product in found if number >= 0]

    def settle(self) -> None:
        """Take cells that are made by now, with what changed since they were begun."""
        build = self._build
        if build is None or not build.done.is_set():
            return
        self._build = None
        if build.made is None:
            self._build_above = 2 * self.size
            return
        for rows, numbers in build.changes:
            if rows is None:
                build.made.remove_ids(numbers)
            else:
                build.made.add_with_ids(rows, numbers)
        self._index, self.in_cells, self._build_above = build.made, True, _ANEW * build.size

    def _exact(self) -> Any:
        return self._faiss.IndexIDMap2(self._faiss.IndexFlatIP(self._dimension))

    def _begin(self) -> None:
        rows, numbers = self._content()
        build = self._build = _Build(len(numbers))
        threading.Thread(target=self._make, args=(build, rows, numbers), name="cells", daemon=True).start()

    def _make(self, build: _Build, rows: Any, numbers: Any) -> None:
        try:
            # Of this thread alone: requests want the other processors.
            self._faiss.omp_set_num_threads(1)
            with _making:
                build.made = self._cells(rows, numbers)
        except (RuntimeError, MemoryError) as error:
            _log.error("cells_not_made", vectors=build.size, error=str(error))
        finally:
            build.done.set()

    def _cells(self, rows: Any, numbers: Any) -> Any:
        """An index in cells of all these; None where it would find too little."""
        count = max(1, int(_CELLS * math.sqrt(len(rows))))
        nearest = self._faiss.IndexFlatIP(self._dimension)
        made = self._faiss.IndexIVFFlat(nearest, self._dimension, count, self._faiss.METRIC_INNER_PRODUCT)
        made.own_fields = True
        nearest.this.disown()
        made.cp.niter, made.cp.spherical = _ROUNDS, True
        made.cp.min_points_per_centroid, made.cp.max_points_per_centroid = 1, _TRAINED_BY
        draw = self._numpy.random.default_rng(len(rows))
        made.train(rows[draw.permutation(len(rows))[: count * _TRAINED_BY]])
        # By it a vector is found, and removed, without a look into all cells.
        made.set_direct_map_type(self._faiss.DirectMap.Hashtable)
        made.add_with_ids(rows, numbers)
        asked = draw.permutation(len(rows))[:_SAMPLE]
        recall = 0.0
        for made.nprobe in (each for each in _SEARCHED if each <= max(_SEARCHED[0], count // 2)):
            recall = self._recall(made, rows, numbers, asked)
            if recall >= self._least_recall:
                _log.info("vectors_in_cells", vectors=len(rows), cells=count, searched=made.nprobe, recall=recall)
                return made
        _log.warning("vectors_stay_exact", vectors=len(rows), recall=recall, wanted=self._least_recall)
        return None

    def _recall(self, made: Any, rows: Any, numbers: Any, asked: Any) -> float:
        """Which part of the nearest of these, beside themselves, it finds."""
        wanted = _WANTED + 1
        _, places = self._faiss.knn(rows[asked], rows, wanted, metric=self._faiss.METRIC_INNER_PRODUCT)
        _, found = made.search(rows[asked], wanted)
        hits = sum(len(set(numbers[each]) & set(some)) - 1 for each, some in zip(places, found, strict=True))
        return round(float(max(0, hits) / (len(asked) * _WANTED)), 4)

    def _content(self) -> tuple[Any, Any]:
        """All vectors and their numbers."""
        if not self.in_cells:
            exact = self._faiss.downcast_index(self._index.index)
            return exact.reconstruct_n(0, self.size), self._faiss.vector_to_array(self._index.id_map)
        lists = self._index.invlists
        rows, numbers = [], []
        for cell in range(lists.nlist):
            if size := lists.list_size(cell):
                numbers.append(self._faiss.rev_swig_ptr(lists.get_ids(cell), size).copy())
                codes = self._faiss.rev_swig_ptr(lists.get_codes(cell), size * lists.code_size).copy()
                rows.append(codes.view("float32").reshape(size, self._dimension))
        if not rows:
            return self._numpy.empty((0, self._dimension), "float32"), self._numpy.empty(0, "int64")
        return self._numpy.vstack(rows), self._numpy.concatenate(numbers)
