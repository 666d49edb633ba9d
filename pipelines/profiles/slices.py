"""Parts of a table: the same columns, counted apart for each value of a slicing expression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.profiles.batches import Batch, as_arrow
from pipelines.profiles.specs import ColumnSpec
from pipelines.profiles.states import ColumnState

VALUES = 100  # most values of one expression
Slice: TypeAlias = tuple[str, str | None]  # the expression, and a value of it as text (None where it is null)
Columns: TypeAlias = dict[str, ColumnState]


@dataclass
class Slices:
    """The columns' states of each slice.

    An expression with more than 100 values is no slicing: it is given up, and ``given_up`` says so. That
    depends on the set of its values alone, so that the merge law stays exact.
    """

    parts: dict[Slice, Columns] = field(default_factory=dict)
    given_up: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.parts or self.given_up)

    def update(
        self, specs: Mapping[str, ColumnSpec], batch: Mapping[str, Batch], by: Mapping[str, Batch]
    ) -> None:
        """Count a batch in place; ``by`` has the value of each expression for each of its rows."""
        for key, values in by.items():
            if key not in self.given_up:
                for value, rows in _rows_by_value(values):
                    empty = {name: ColumnState.empty(spec) for name, spec in specs.items()}
                    part = self.parts.setdefault((key, value), empty)
                    for name in part.keys() & batch.keys():
                        part[name].update(as_arrow(batch[name], None).take(rows))
        self._give_up_too_many()

    def merge(self, other: Slices) -> Slices:
        """The slices of both sets of rows."""
        both = {**self.parts, **other.parts}
        merged = {s: _merged(self.parts.get(s, {}), other.parts.get(s, {})) for s in both}
        result = Slices(merged, self.given_up | other.given_up)
        result._give_up_too_many()
        return result

    def to_list(self) -> list[dict[str, Any]]:
        """Plain data, ready for JSON, without the specs."""
        return [
            {"key": key, "value": value, "columns": {name: state.to_dict() for name, state in part.items()}}
            for (key, value), part in sorted(
                self.parts.items(), key=lambda item: (item[0][0], item[0][1] or "")
            )
        ]

    @classmethod
    def from_data(cls, data: Mapping[str, Any], specs: Mapping[str, ColumnSpec]) -> Slices:
        """The slices in the dictionary of a table profile; none in those of earlier versions."""
        parts = {
            (part["key"], part["value"]): {
                name: ColumnState.from_dict(specs[name], state) for name, state in part["columns"].items()
            }
            for part in data.get("slices", ())
        }
        return cls(parts, frozenset(data.get("given_up", ())))

    def _give_up_too_many(self) -> None:
        keys = [key for key, _ in self.parts]
        gone = {key for key in keys if keys.count(key) > VALUES} if len(keys) > VALUES else set()
        self.given_up |= gone
        self.parts = {s: part for s, part in self.parts.items() if s[0] not in self.given_up}


def _rows_by_value(values: Batch) -> Iterator[tuple[str | None, pa.Array]]:
    """Each value as text with the numbers of its rows; booleans as ``true`` and ``false``."""
    array = as_arrow(values, None)
    texts = (array.dictionary_decode() if pa.types.is_dictionary(array.type) else array).cast(pa.string())
    coded = pc.dictionary_encode(texts, null_encoding="encode")
    codes, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(len(names)), "right").tolist()
    for name, start, end in zip(names, [0, *ends], ends, strict=False):
        yield name, pa.array(order[start:end])


def _merged(a: Columns, b: Columns) -> Columns:
    return {
        name: a[name].merge(b[name]) if name in a and name in b else (a if name in a else b)[name]
        for name in {**a, **b}
    }
