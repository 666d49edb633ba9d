"""What is counted of a column: its kind, and the bins or categories that a baseline fixes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Kind = Literal["numeric", "categorical", "boolean", "datetime"]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

INTEGERS = frozenset({"byte", "short", "int", "integer", "long", "bigint"})
_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys((*INTEGERS, "float", "double", "decimal"), "numeric"),
    **dict.fromkeys(("timestamp", "timestamp_ntz", "datetime", "date"), "datetime"),
    "boolean": "boolean",
    "string": "categorical",
}


@dataclass(frozen=True)
class ColumnSpec:
    """What a column's state counts.

    ``edges`` (numbers): strictly increasing; bins are (-inf, e0], (e0, e1], ..., (e_last, inf). The first
    edge is the largest double below the smallest reference value, the others are reference values, so the
    first and the last bin hold what the reference never reached. ``discrete`` says that the edges are all
    of the reference's values. ``categories``: the reference's values with a bin of their own; one more bin
    holds all others. Both are None in a free spec. Times are seconds since 1970-01-01 UTC.
    """

    name: str
    kind: Kind
    data_type: str
    edges: tuple[float, ...] | None = None
    categories: tuple[str, ...] | None = None
    discrete: bool = False

    @property
    def is_numeric(self) -> bool:
        """Whether values are numbers (or times) on an axis."""
        return self.kind in ("numeric", "datetime")

    @property
    def frozen(self) -> bool:
        """Whether bins or categories are fixed."""
        return (self.edges if self.is_numeric else self.categories) is not None

    @cached_property
    def edge_array(self) -> Floats:
        """``edges`` as an array."""
        return np.array(self.edges or (), np.float64)

    @cached_property
    def category_array(self) -> pa.Array:
        """``categories`` as an Arrow array."""
        return pa.array(self.categories or (), pa.large_string())


def free_spec(name: str, data_type: str) -> ColumnSpec | None:
    """The spec of a column without a baseline; None for types that are not profiled (binary, arrays).

    Args:
        name: the column.
        data_type: Spark's or MLflow's name of the type.
    """
    kind = _KINDS.get(data_type.partition("(")[0])
    return ColumnSpec(name, kind, data_type) if kind else None
