"""Arrow columns to the DataFrame that the model's signature declares.

A column's dtype depends on the signature alone, never on the values of a batch: required columns are plain
numpy, optional integers and booleans pandas' nullable types (so that 2**53 + 1 beside a NULL stays what it
is), optional floats NaN, times naive UTC. An array is numpy's; one with a NULL among its whole numbers or
truth values holds Python objects, as numpy has no other way to keep both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipelines.records import ModelColumn

if TYPE_CHECKING:
    import pandas as pd  # late: the driver imports this module and makes no frame, and pandas takes a quarter second

_NUMPY = {"integer": np.int32, "long": np.int64, "float": np.float32, "double": np.float64}
_NULLABLE = {"boolean": "boolean", "integer": "Int32", "long": "Int64"}


def to_frame(inputs: Sequence[ModelColumn], arrays: Sequence[pa.Array]) -> pd.DataFrame:
    """``arrays`` (one per input, n values each) as a DataFrame of n rows with the signature's names."""
    import pandas as pd

    names = [c.name for c in inputs]
    types = {c.type for c in inputs}
    if len(types) == 1 and (kind := next(iter(types))) in ("double", "float"):
        # pandas' own layout: wrapped, not copied
        block = np.empty((len(arrays), len(arrays[0])), _NUMPY[kind])
        for row, array in zip(block, arrays, strict=True):
            row[:] = array.to_numpy(zero_copy_only=False)  # NULL arrives as NaN
        return pd.DataFrame(block.T, columns=names, copy=False)
    series = {c.name: _series(c, a) for c, a in zip(inputs, arrays, strict=True)}
    return pd.DataFrame(series, copy=False)


def _series(wanted: ModelColumn, array: pa.Array) -> pd.Series:
    import pandas as pd

    kind = wanted.type
    if kind in ("float", "double"):
        return pd.Series(array.to_numpy(zero_copy_only=False).astype(_NUMPY[kind], copy=False))
    if kind in _NULLABLE:
        if wanted.required:
            return pd.Series(array.to_numpy(zero_copy_only=False), dtype=_NUMPY.get(kind, np.bool_))
        return _nullable(array, _NULLABLE[kind])
    if kind == "datetime":
        return array.cast(pa.timestamp("us")).cast(pa.timestamp("ns")).to_pandas()
    if kind.startswith("array<"):
        return _lists(array)
    return array.to_pandas()


def _lists(array: pa.Array) -> pd.Series:
    import pandas as pd

    leaves = array
    while pa.types.is_list(leaves.type) or pa.types.is_large_list(leaves.type):
        leaves = leaves.flatten()
    if not (pa.types.is_integer(leaves.type) and leaves.null_count):
        return array.to_pandas()
    dtype = leaves.type.to_pandas_dtype()
    series = pd.Series(index=range(len(array)), dtype=object)
    series[:] = [_exact(row, dtype) for row in array.to_pylist()]
    return series


def _exact(row: Any, dtype: type) -> Any:
    """What ``to_pandas`` gives, but for a NULL among integers, which it would turn into floats."""
    if not isinstance(row, list):
        return row
    if any(isinstance(item, list) for item in row):
        nested = np.empty(len(row), dtype=object)
        nested[:] = [_exact(item, dtype) for item in row]
        return nested
    return np.array(row, dtype=object if None in row else dtype)


def _nullable(array: pa.Array, dtype: str) -> pd.Series:
    """pandas' nullable type straight from Arrow's buffers: no detour through float64."""
    import pandas as pd

    missing = array.is_null().to_numpy(zero_copy_only=False)
    values = array.fill_null(False if dtype == "boolean" else 0).to_numpy(zero_copy_only=False)
    build = pd.arrays.BooleanArray if dtype == "boolean" else pd.arrays.IntegerArray
    return pd.Series(build(np.array(values), missing))
