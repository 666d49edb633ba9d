"""What a model returned, as typed columns: declared on the driver, checked and converted on the workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipelines.records import ModelColumn

_ARROW = {
    "boolean": pa.bool_(), "integer": pa.int32(), "long": pa.int64(), "float": pa.float32(),
    "double": pa.float64(), "string": pa.string(), "binary": pa.binary(), "datetime": pa.timestamp("us", "UTC"),
}  # fmt: skip
_KINDS = {  # numpy kinds that convert to a declared type without losing anything
    "boolean": "b", "integer": "biu", "long": "biu", "float": "biuf", "double": "biuf",
    "string": "OSU", "binary": "OS", "datetime": "MO",
}  # fmt: skip


class WrongOutput(Exception):
    """The model returned something that is not one value per row of the declared type."""


def output_columns(method: str, declared: Sequence[ModelColumn]) -> tuple[ModelColumn, ...]:
    """The prediction columns a method gives, in the order in which they are written.

    ``predict``: the signature's outputs, a single one under the name ``prediction``. ``predict_proba``: the
    label of the most probable class as ``prediction`` (the signature gives its type), and ``probability`` as
    array<double> in the order of the model's classes. Any other method: ``prediction`` as array<double>.
    """
    if method == "predict":
        if len(declared) == 1:
            return (ModelColumn("prediction", declared[0].type),)
        return tuple(declared)
    if method == "predict_proba" and not declared[0].type.startswith("array<"):
        return (ModelColumn("prediction", declared[0].type), ModelColumn("probability", "array<double>"))
    return (ModelColumn("prediction", "array<double>"),)


def arrow_type(model_type: str) -> pa.DataType:
    """Arrow's type for a type of a model signature."""
    if model_type.startswith("array<"):
        return pa.list_(arrow_type(model_type[6:-1]))
    return _ARROW[model_type]


def to_arrays(
    result: Any, rows: int, method: str, columns: Sequence[ModelColumn], classes: Any
) -> tuple[list[pa.Array], np.ndarray]:
    """Convert one batch's result.

    Returns:
        One Arrow array of ``rows`` values per column, and a boolean array of ``rows``: True where a value is
        NaN, infinite or missing and must not be published.

    Raises:
        WrongOutput: naming what was returned and what was expected.
    """
    parts = _parts(result, rows, method, columns, classes)
    bad = np.zeros(rows, dtype=bool)
    arrays = []
    for wanted, values in zip(columns, parts, strict=True):
        array, invalid = _array(wanted, values)
        arrays.append(array)
        bad |= invalid
    return arrays, bad


def _parts(result: Any, rows: int, method: str, columns: Sequence[ModelColumn], classes: Any) -> list[Any]:
    """One value container per column, each of ``rows`` values in the rows' order."""
    if isinstance(result, (pd.DataFrame, pd.Series)):
        expected = pd.RangeIndex(rows)
        if len(result) == rows and not result.index.equals(expected):
            raise WrongOutput("returned rows in another order (its index is not that of the batch)")
    if isinstance(result, pd.DataFrame) and method == "predict":
        missing = [c.name for c in columns if c.name not in result.columns]
        names = list(result.columns) if missing and len(columns) == result.shape[1] else [c.name for c in columns]
        if missing and names == [c.name for c in columns]:
            raise WrongOutput(f"returned the columns {list(result.columns)}, expected {names}")
        parts = [result[n].to_numpy() for n in names]
    else:
        values = np.asarray(result)
        if values.ndim == 2 and values.shape[1] == 1 and not columns[0].type.startswith("array<"):
            values = values[:, 0]
        parts = _split(values, method, columns, classes)
    for part in parts:
        if np.ndim(part) == 0 or len(part) != rows:
            found = 1 if np.ndim(part) == 0 else len(part)
            raise WrongOutput(f"returned {found} rows for a batch of {rows}")
    return parts


def _split(values: np.ndarray, method: str, columns: Sequence[ModelColumn], classes: Any) -> list[Any]:
    if method == "predict_proba" and len(columns) == 2:
        if values.ndim != 2:
            raise WrongOutput(f"returned an array of shape {values.shape}, expected (rows, classes)")
        best = np.nan_to_num(values, nan=-1.0).argmax(axis=1)
        return [best if classes is None else np.asarray(classes)[best], values]
    if len(columns) > 1:
        if values.ndim != 2 or values.shape[1] != len(columns):
            raise WrongOutput(f"returned an array of shape {values.shape}, expected (rows, {len(columns)})")
        return list(values.T)
    return [values]


def _array(wanted: ModelColumn, values: Any) -> tuple[pa.Array, np.ndarray]:
    if wanted.type.startswith("array<"):
        return _list_array(wanted, values)
    values = np.asarray(values)
    if values.dtype.kind not in _KINDS[wanted.type] or values.ndim != 1:
        raise WrongOutput(f"returned {values.dtype} of shape {values.shape} for {wanted.name!r}, expected {wanted.type}")
    bad = ~np.isfinite(values) if values.dtype.kind == "f" else np.asarray(pd.isna(values))
    try:
        array = pa.array(values, type=arrow_type(wanted.type), from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise WrongOutput(f"returned values for {wanted.name!r} that are not {wanted.type}: {error}") from error
    return array, bad


def _list_array(wanted: ModelColumn, values: Any) -> tuple[pa.Array, np.ndarray]:
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf" and wanted.type == "array<double>":
        matrix = np.ascontiguousarray(values.reshape(len(values), -1), dtype=np.float64)
        offsets = np.arange(0, matrix.size + 1, matrix.shape[1], dtype=np.int32)
        return pa.ListArray.from_arrays(offsets, pa.array(matrix.ravel())), ~np.isfinite(matrix).all(axis=1)
    rows = [None if v is None else np.asarray(v).tolist() for v in values]
    try:
        array = pa.array(rows, type=arrow_type(wanted.type))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise WrongOutput(f"returned values for {wanted.name!r} that are not {wanted.type}: {error}") from error
    return array, array.is_null().to_numpy(zero_copy_only=False)
