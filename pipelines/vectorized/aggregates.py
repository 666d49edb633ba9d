"""Aggregates of the values of a program, batch by batch, as totals that merge and travel as JSON.

They mean what Spark's do: NULL is left out, NaN is the largest number, no value gives NULL.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.vectorized.program import Value, as_arrow

_NUMBERS = ("byte", "short", "integer", "long", "float", "double")
_FLOATING = ("float", "double")
MOST = 4096  # distinct values that are counted by name


@dataclass(frozen=True)
class Aggregate:
    """``kind``: max, min, sum, mean, std (of a sample), top (values with their counts) or distinct."""

    kind: str
    type: str

    @staticmethod
    def takes(kind: str, data_type: str) -> bool:
        """Whether this aggregate means the same here as in Spark for a column of this type."""
        if kind in ("top", "distinct"):
            return data_type in ("byte", "short", "integer", "long", "boolean", "string")
        if kind in ("max", "min"):
            return data_type in _NUMBERS
        return data_type in (_FLOATING if kind == "sum" else _NUMBERS)


@dataclass
class Totals:
    """Running totals of several aggregates; ``states`` are plain lists, ready for JSON."""

    wanted: Sequence[Aggregate]
    states: list[Any]

    @classmethod
    def empty(cls, wanted: Sequence[Aggregate]) -> Totals:
        return cls(wanted, [None] * len(wanted))

    def add(self, values: Sequence[Value], rows: int) -> None:
        """Count a batch of ``rows`` rows; ``values`` has one value per aggregate."""
        for i, (aggregate, value) in enumerate(zip(self.wanted, values, strict=True)):
            self.states[i] = _merged(aggregate, self.states[i], _of_batch(aggregate, value, rows))

    def merge(self, other: Sequence[Any]) -> None:
        """Add the states of another part."""
        pairs = zip(self.wanted, self.states, other, strict=True)
        self.states = [_merged(a, mine, theirs) for a, mine, theirs in pairs]

    def results(self) -> list[Any]:
        """What Spark would have returned for each aggregate."""
        return [_result(a, s) for a, s in zip(self.wanted, self.states, strict=True)]


def _of_batch(aggregate: Aggregate, value: Value, rows: int) -> Any:
    if aggregate.kind in ("top", "distinct"):
        return _counted(aggregate, value, rows)
    data, valid = value
    data = np.broadcast_to(data, rows)
    if valid is not None:
        data = data[np.broadcast_to(valid, rows)]
    if not len(data):
        return None
    if aggregate.kind == "max":
        return data.max().item()  # numpy's max is NaN where one is
    if aggregate.kind == "min":
        return (np.fmin.reduce(data) if aggregate.type in _FLOATING else data.min()).item()
    data = data.astype(np.float64, copy=False)
    if aggregate.kind in ("sum", "mean"):
        return [len(data), float(data.sum())]
    mean = float(data.mean())
    deviations = data - mean
    return [len(data), mean, float(deviations @ deviations)]


def _counted(aggregate: Aggregate, value: Value, rows: int) -> Any:
    found = as_arrow(value, aggregate.type, rows).value_counts()
    if len(found) > MOST:
        return "many"
    return [[v["values"], v["counts"]] for v in found.to_pylist()]


def _merged(aggregate: Aggregate, one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    if aggregate.kind in ("top", "distinct"):
        return _merged_counts(one, other)
    if aggregate.kind == "max":
        return _most(one, other)
    if aggregate.kind == "min":
        return other if math.isnan(one) else one if math.isnan(other) else min(one, other)
    if aggregate.kind in ("sum", "mean"):
        return [one[0] + other[0], one[1] + other[1]]
    (n, mean, m2), (k, mean_k, m2_k) = one, other  # Chan, Golub & LeVeque 1979
    delta, total = mean_k - mean, n + k
    return [total, mean + delta * k / total, m2 + m2_k + delta * delta * n * k / total]


def _most(one: Any, other: Any) -> Any:
    return one if math.isnan(one) else other if math.isnan(other) else max(one, other)


def _merged_counts(one: Any, other: Any) -> Any:
    if "many" in (one, other):
        return "many"
    counts: Counter[Any] = Counter()
    for value, n in (*one, *other):
        counts[value] += n
    return "many" if len(counts) > MOST else [[v, n] for v, n in counts.items()]


def _result(aggregate: Aggregate, state: Any) -> Any:
    kind = aggregate.kind
    if kind == "top":
        return [] if state in (None, "many") else [{"item": v, "count": n} for v, n in state]
    if kind == "distinct":
        return 0 if state is None else MOST + 1 if state == "many" else sum(v is not None for v, _ in state)
    if state is None:
        return None
    if kind == "sum":
        return state[1]
    if kind == "mean":
        return state[1] / state[0]
    if kind == "std":
        return math.sqrt(state[2] / (state[0] - 1)) if state[0] > 1 else None
    return state
