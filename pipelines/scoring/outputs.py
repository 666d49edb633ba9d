"""What a model returned, as typed columns: declared on the driver, checked and converted on the workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.records import ModelColumn

if TYPE_CHECKING:
    import pandas as pd  # late, as in frames

_ARROW = {
    "boolean": pa.bool_(), "integer": pa.int32(), "long": pa.int64(), "float": pa.float32(),
    "double": pa.float64(), "string": pa.string(), "binary": pa.binary(), "datetime": pa.timestamp("us", "UTC"),
}  # fmt: skip
_KINDS = {  # numpy kinds that a declared type takes; of objects (O) and too large numbers Arrow is the judge
    "boolean": "bO", "integer": "biuO", "long": "biuO", "float": "biufO", "double": "biufO",
    "string": "OU", "binary": "OS", "datetime": "MO",
}  # fmt: skip
_NUMBERS = ("boolean", "integer", "long", "float", "double")


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
    import pandas as pd

    if isinstance(result, (pd.DataFrame, pd.Series)):
        expected = pd.RangeIndex(rows)
        if len(result) == rows and not result.index.equals(expected):
            raise WrongOutput("returned rows in another order (its index is not that of the batch)")
    if isinstance(result, pd.DataFrame) and method == "predict":
        parts = [result[n] for n in _names(result, columns)]
    elif isinstance(result, pd.Series) and len(columns) == 1:
        parts = [result]
    else:
        values = _values(result, columns)
        if values.ndim == 2 and values.shape[1] == 1 and not columns[0].type.startswith("array<"):
            values = values[:, 0]
        parts = _split(values, method, columns, classes)
    for part in parts:
        if len(part) != rows:
            raise WrongOutput(f"returned {len(part)} rows for a batch of {rows}")
    return parts


def _names(result: pd.DataFrame, columns: Sequence[ModelColumn]) -> list[Any]:
    """The result's columns for the declared ones: by name, or by position where no name is known."""
    declared = [c.name for c in columns]
    if set(declared) <= set(result.columns):
        return declared
    if len(declared) != result.shape[1] or set(declared) & set(result.columns):
        raise WrongOutput(f"returned the columns {list(result.columns)}, expected {declared}")
    return list(result.columns)


def _values(result: Any, columns: Sequence[ModelColumn]) -> np.ndarray:
    """numpy's view of a result; a list of texts, bytes or lists is not left to numpy, which pads and cuts them."""
    if isinstance(result, (list, tuple)) and len(columns) == 1 and columns[0].type not in _NUMBERS:
        values = np.empty(len(result), dtype=object)
        values[:] = result
        return values
    values = np.asarray(result)
    if values.ndim == 0:
        raise WrongOutput(f"returned a single {type(result).__name__}, expected one value per row")
    return values


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
    if (
        method == "predict"
        and columns[0].type.startswith("array<")
        and values.ndim == 1
        and values.dtype != object
    ):
        raise WrongOutput(
            f"returned one {values.dtype} per row, expected {columns[0].type} for {columns[0].name!r}"
        )
    return [values]


def _array(wanted: ModelColumn, values: Any) -> tuple[pa.Array, np.ndarray]:
    """One column and where it is missing, NaN or infinite."""
    import pandas as pd

    if wanted.type.startswith("array<"):
        return _list_array(wanted, values)
    if isinstance(values, pd.Series):
        extension = pd.api.types.is_extension_array_dtype(values.dtype)
        values = values.astype(object).to_numpy() if extension else values.to_numpy()
    if values.dtype.kind not in _KINDS[wanted.type] or values.ndim != 1:
        raise WrongOutput(
            f"returned {values.dtype} of shape {values.shape} for {wanted.name!r}, expected {wanted.type}"
        )
    array = _converted(values, wanted)
    return array, _unfit(array)


def _list_array(wanted: ModelColumn, values: Any) -> tuple[pa.Array, np.ndarray]:
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf" and wanted.type == "array<double>":
        if values.ndim > 2:
            raise WrongOutput(
                f"returned an array of shape {values.shape} for {wanted.name!r}, expected {wanted.type}"
            )
        matrix = np.ascontiguousarray(values.reshape(len(values), -1), dtype=np.float64)
        offsets = np.arange(0, matrix.size + 1, matrix.shape[1], dtype=np.int32)
        bad = np.asarray(~np.isfinite(matrix).all(axis=1))
        return pa.ListArray.from_arrays(offsets, pa.array(matrix.ravel())), bad
    array = _converted([v.tolist() if isinstance(v, np.ndarray) else v for v in values], wanted)
    return array, _unfit(array)


def _converted(values: Any, wanted: ModelColumn) -> pa.Array:
    kind = arrow_type(wanted.type)
    try:
        if pa.types.is_integer(_leaf(kind)) and getattr(values, "dtype", None) in (None, np.object_):
            # asked for integers, Arrow would cut an object 2.7 to 2
            guessed = pa.array(values, from_pandas=True)
            if pa.types.is_floating(_leaf(guessed.type)):
                return guessed.cast(kind)
        return pa.array(values, kind, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise WrongOutput(
            f"returned values for {wanted.name!r} that are not {wanted.type}: {error}"
        ) from error


def _leaf(kind: pa.DataType) -> pa.DataType:
    return _leaf(kind.value_type) if pa.types.is_list(kind) else kind


def _unfit(array: pa.Array) -> np.ndarray:
    """Where a value, or anything in a list, is missing, NaN or infinite."""
    bad: np.ndarray = array.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(array.type):
        return np.asarray(bad | ~np.isfinite(array.to_numpy(zero_copy_only=False)))
    if pa.types.is_list(array.type):
        inside = _unfit(array.flatten())
        bad = bad.copy()
        bad[pc.list_parent_indices(array).to_numpy(zero_copy_only=False)[inside]] = True
    return bad
