"""Small decision trees evaluated together, without branches: a bit per leaf, and a table per feature.

A row's place among a feature's thresholds says which leaves of every tree it can no longer reach; the masks of all
features, joined by AND, leave in each tree some leaves of which the leftmost is the one that walking down would find
(Lucchese et al. 2015). Comparisons are those of the walk, and values are added in the order of the trees: the sums
are the library's own, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

LEAVES = 64  # bits of the widest mask
_TOGETHER, _BLOCK = 128, 1024  # trees and rows at a time: masks of that many stay in a core's cache
_RANK, _MASK_BYTE, _TREE = 10.0, 0.06, 5.0  # ns for a row: a rank, a byte of a mask, the leaf of a tree
_STEP = 6.0  # ns for a row: a step of the walk that this replaces


@dataclass(frozen=True)
class Tree:
    """One tree; node 0 is its root. ``left`` is -1 at a leaf. A value ``<= threshold`` goes left, NaN where
    ``nan_left`` says so."""

    feature: npt.NDArray[np.intp]
    threshold: npt.NDArray[np.float64]
    left: npt.NDArray[np.intp]
    right: npt.NDArray[np.intp]
    nan_left: npt.NDArray[np.bool_]
    value: npt.NDArray[np.float64]

    @property
    def leaves(self) -> int:
        return int((self.left < 0).sum())

    @cached_property
    def spans(self) -> tuple[list[int], dict[int, tuple[int, int]], int]:
        """Leaves from left to right; of each inner node the leaves below its left and the end of its right side;
        and the sum of the leaves' depths."""
        order: list[int] = []
        spans: dict[int, tuple[int, int]] = {}
        depths = 0
        waiting: list[tuple[int, int, int]] = [(0, 0, 0)]  # a node, how many sides are done, its depth
        first: dict[int, int] = {}
        while waiting:
            node, done, depth = waiting.pop()
            if self.left[node] < 0:
                order.append(node)
                depths += depth
            elif done == 0:
                first[node] = len(order)
                waiting += [(node, 1, depth), (int(self.left[node]), 0, depth + 1)]
            else:
                spans[node] = (first[node], len(order))
                waiting.append((int(self.right[node]), 0, depth + 1))
        return order, spans, depths


@dataclass(frozen=True)
class _Group:
    """Some trees: one mask per place and tree for each feature, the values of their leaves side by side."""

    tables: list[npt.NDArray[Any]]
    values: npt.NDArray[np.float64]
    starts: npt.NDArray[np.intp]


class Forest:
    """Sums of the trees' values. ``outputs``: tree t adds to output ``t % outputs``."""

    def __init__(self, trees: Sequence[Tree], outputs: int = 1) -> None:
        self.outputs = outputs
        kind = np.uint32 if max(t.leaves for t in trees) <= 32 else np.uint64
        self._kind: Any = kind
        used = np.unique(np.concatenate([t.feature[t.left >= 0] for t in trees]))
        self.points = {int(f): _thresholds(trees, f) for f in used}
        self._padded = [_padded(points) for points in self.points.values()]
        self._groups = [self._group(trees[i : i + _TOGETHER]) for i in range(0, len(trees), _TOGETHER)]

    @property
    def nbytes(self) -> int:
        """Bytes of all tables."""
        return sum(table.nbytes for group in self._groups for table in group.tables)

    def sums(self, matrix: npt.NDArray[Any], start: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """``start`` (one per output) plus the values of all trees, of shape (rows, outputs), columns contiguous.

        Args:
            matrix: (rows, features), numbers; fastest where a column is contiguous.
        """
        result = np.empty((len(matrix), self.outputs), np.float64, order="F")
        result[:] = start
        for first in range(0, len(matrix), _BLOCK):
            block = matrix[first : first + _BLOCK]
            places = [self._places(block[:, f], i) for i, f in enumerate(self.points)]
            out = result[first : first + _BLOCK]
            tree = 0
            for group in self._groups:
                for values in self._values(group, places):
                    out[:, tree % self.outputs] += values
                    tree += 1
        return result

    @staticmethod
    def worth_it(trees: Sequence[Tree]) -> bool:
        """Whether this is at least a fifth faster than walking, by what a core was measured to need: masks are read
        for every feature, used by a tree or not."""
        features = len(np.unique(np.concatenate([t.feature[t.left >= 0] for t in trees])))
        size = 4 if max(t.leaves for t in trees) <= 32 else 8
        masks = features * (_RANK + _MASK_BYTE * size * len(trees)) + _TREE * len(trees)
        walk = sum(_STEP * t.spans[2] / t.leaves for t in trees)
        return masks * 1.2 <= walk

    def _group(self, trees: Sequence[Tree]) -> _Group:
        full = np.iinfo(self._kind).max
        tables = [np.full((len(p) + 2, len(trees)), full, self._kind) for p in self.points.values()]
        where = {f: i for i, f in enumerate(self.points)}
        values: list[float] = []
        starts = []
        for number, tree in enumerate(trees):
            order, spans, _ = tree.spans
            starts.append(len(values))
            values += tree.value[order].tolist()
            for node, (a, b) in spans.items():
                feature = int(tree.feature[node])
                table = tables[where[feature]]
                gone = self._kind(full & ~((1 << b) - (1 << a)))  # to the right: not the leaves on the left
                place = int(self.points[feature].searchsorted(tree.threshold[node]))
                table[place + 1 : -1, number] &= gone
                if not tree.nan_left[node]:
                    table[-1, number] &= gone
        return _Group(tables, np.array(values), np.array(starts, np.intp))

    def _places(self, column: npt.NDArray[Any], number: int) -> npt.NDArray[np.intp]:
        """How many thresholds are below each value, found by halving; the last row of the table for NaN."""
        padded = self._padded[number]
        values = np.ascontiguousarray(column, np.float64)
        places = np.zeros(len(values), np.intp)
        half = len(padded) // 2
        while half:
            places += (padded[half - 1 :].take(places, mode="clip") < values) * half
            half //= 2
        missing = np.isnan(values)
        if missing.any():
            places[missing] = len(self._groups[0].tables[number]) - 1
        return places

    def _values(
        self, group: _Group, places: Sequence[npt.NDArray[np.intp]]
    ) -> Iterator[npt.NDArray[np.float64]]:
        """The value of each row, tree by tree."""
        shape = (len(places[0]), len(group.starts))
        left, more = np.empty(shape, self._kind), np.empty(shape, self._kind)
        group.tables[0].take(places[0], axis=0, out=left, mode="clip")
        for table, place in zip(group.tables[1:], places[1:], strict=True):
            table.take(place, axis=0, out=more, mode="clip")
            left &= more
        np.negative(left, out=more)
        left &= more  # the lowest bit alone
        left -= self._kind(1)
        leaf = np.bitwise_count(left).T.astype(np.intp)
        leaf += group.starts[:, None]
        yield from group.values.take(leaf)


def _thresholds(trees: Sequence[Tree], feature: int) -> npt.NDArray[np.float64]:
    return np.unique(np.concatenate([t.threshold[(t.feature == feature) & (t.left >= 0)] for t in trees]))


def _padded(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """To a power of two that leaves room for "above all of them"."""
    size = 1 << len(points).bit_length()
    return np.concatenate([points, np.full(size - len(points), np.inf)])
