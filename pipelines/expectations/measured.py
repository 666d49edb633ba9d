"""What the one pass measured, and how GX's values follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import types as T

# The most distinct values that one column is tracked with before GX has to read the column itself.
TRACKED = 4096

INTEGRAL = (T.ByteType, T.ShortType, T.IntegerType, T.LongType)

Items = list[tuple[Any, int]]


class Unmeasured(Exception):
    """The pass did not measure, or not exactly, what a value needs: GX has to compute it."""


@dataclass(frozen=True)
class Measured:
    """What the caller measured over ``rows`` rows; see :func:`pipelines.expectations.judge`."""

    rows: int
    counts: Mapping[str, int]
    aggregates: Mapping[str, Any]

    def count(self, key: str | None) -> int:
        """Rows for which the condition is true; None stands for the condition that always is."""
        if key is None:
            return self.rows
        if key not in self.counts:
            raise Unmeasured(key)
        return self.counts[key]

    def aggregate(self, key: str) -> Any:
        if key not in self.aggregates:
            raise Unmeasured(key)
        return self.aggregates[key]

    def items(self, key: str) -> Items:
        """Distinct non-null values with their counts, if they were few enough to be counted exactly.

        Beyond ``TRACKED`` values the sketch forgets some and its counts become estimates. Two independent
        witnesses must agree that it did not: the counts add up to all rows, and HyperLogLog++ sees at most
        half as many values as fit (its error is 5 % at one standard deviation).
        """
        found = [(item["item"], item["count"]) for item in self.aggregate(f"{key}_top") or ()]
        exact = sum(count for _, count in found) == self.rows and self.aggregate(f"{key}_hll") <= TRACKED / 2
        if not exact:
            raise Unmeasured(key)
        return [(value, count) for value, count in found if value is not None]


NOTHING = Measured(0, {}, {})

Recipe = Callable[[Measured], Any]


def value(recipe: Recipe, measured: Measured) -> Any:
    """The value, or None where it was not measured."""
    try:
        return recipe(measured)
    except Unmeasured:
        return None


def countable(data_type: T.DataType, values: Sequence[Any]) -> bool:
    """Whether Spark and Python agree on what is equal for this column and these configured values."""
    if isinstance(data_type, T.StringType):
        return all(isinstance(v, str) for v in values)
    if isinstance(data_type, T.BooleanType):
        return all(isinstance(v, bool) for v in values)
    if isinstance(data_type, INTEGRAL):
        return all(isinstance(v, int) and not isinstance(v, bool) for v in values)
    return isinstance(data_type, T.DateType) and not values


def from_items(metric: str, wanted: Sequence[Any]) -> Callable[[Items], Any] | None:
    """How GX's Spark metric follows from the distinct values and their counts, or None if it does not."""
    finishes: dict[str, Callable[[Items], Any]] = {
        "column.distinct_values": lambda items: {v for v, _ in items},
        "column.distinct_values.count": len,
        "column.distinct_values.not_in_set": lambda items: sorted(v for v, _ in items if v not in wanted),
        "column.distinct_values.not_in_set.count": lambda items: sum(v not in wanted for v, _ in items),
        "column.distinct_values.missing_from_column": lambda items: _missing(items, wanted),
        "column.distinct_values.missing_from_column.count": lambda items: (
            len(wanted) - sum(v in wanted for v, _ in items)
        ),
        "column.value_counts": _value_counts,
    }
    return finishes.get(metric)


def _missing(items: Items, wanted: Sequence[Any]) -> list[Any]:
    found = {value for value, _ in items}
    return [value for value in wanted if value not in found]


def _value_counts(items: Items) -> Any:
    import pandas as pd

    ordered = sorted(items)
    index = pd.Index([value for value, _ in ordered], name="value")
    return pd.Series([count for _, count in ordered], index=index, name="count")
