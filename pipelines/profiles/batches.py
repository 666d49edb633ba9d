"""Reading one column of a batch: numpy or Arrow, of any type, as sorted numbers or as texts."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.profiles.specs import Floats

Batch: TypeAlias = Any  # a one-dimensional numpy array, pyarrow Array or ChunkedArray


def numbers(values: Batch, mask: npt.NDArray[np.bool_] | None, integer: bool) -> tuple[npt.NDArray[Any], int]:
    """Values without nulls as int64 or float64 in ascending order, NaN last, and the number of nulls.

    Zeros are positive, so that equal values have equal bits.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        plain, nulls = (values, 0) if mask is None else (values[~mask], int(mask.sum()))
    else:
        plain, nulls = _numbers_of_arrow(as_arrow(values, mask))
    plain = np.sort(plain)  # before widening: narrow types sort faster
    if plain.dtype.kind == "f":
        floats = plain.astype(np.float64, copy=False)
        floats[floats.searchsorted(0.0) : floats.searchsorted(0.0, "right")] = 0.0
        return _whole(floats, nulls) if integer else (floats, nulls)
    if plain.dtype == np.uint64 and len(plain) and plain[-1] > np.iinfo(np.int64).max:
        return plain.astype(np.float64), nulls
    return plain.astype(np.int64, copy=False), nulls


def _numbers_of_arrow(array: pa.Array) -> tuple[npt.NDArray[Any], int]:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    present = array.drop_null() if array.null_count else array
    if pa.types.is_temporal(present.type):
        micros = present.cast(pa.timestamp("us", getattr(present.type, "tz", None)), safe=False).cast(
            pa.int64()
        )
        return micros.to_numpy(zero_copy_only=False) / 1e6, array.null_count
    if pa.types.is_boolean(present.type):
        present = present.cast(pa.int8())
    elif not (pa.types.is_integer(present.type) or pa.types.is_floating(present.type)):
        present = present.cast(pa.float64())
    return present.to_numpy(zero_copy_only=False), array.null_count


def _whole(values: Floats, nulls: int) -> tuple[npt.NDArray[Any], int]:
    """Numbers of an integer column that came as doubles: NaN is how pandas writes their null."""
    present = values[~np.isnan(values)]
    nulls += len(values) - len(present)
    if np.all((present == np.trunc(present)) & (np.abs(present) < 2.0**63)):
        return present.astype(np.int64), nulls
    return present, nulls


def texts_of(values: Batch, mask: npt.NDArray[np.bool_] | None, boolean: bool) -> pa.Array:
    """Values as large_string; whole doubles without a point, so that a label is the same text in any type."""
    array = as_arrow(values, mask)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if boolean and not pa.types.is_boolean(array.type):
        array = array.cast(pa.bool_())
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), None, array)
    return array.cast(pa.large_string())


def as_arrow(values: Any, mask: npt.NDArray[np.bool_] | None) -> pa.Array:
    try:
        array = (
            values
            if isinstance(values, (pa.Array, pa.ChunkedArray))
            else pa.array(values, mask=mask, from_pandas=True)
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # objects of several types
        nulls = _is_null(values) if mask is None else mask
        array = pa.array(
            [None if null else str(v) for v, null in zip(values, nulls, strict=True)], pa.string()
        )
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _is_null(values: Any) -> list[bool]:
    return [v is None or (isinstance(v, float) and np.isnan(v)) for v in values]


def data_type_of(arrow: pa.DataType) -> str:
    """Spark's name of an Arrow type, the Arrow name where Spark has none that is profiled."""
    if pa.types.is_dictionary(arrow):
        return data_type_of(arrow.value_type)
    if pa.types.is_integer(arrow):
        return {8: "byte", 16: "short", 32: "integer"}.get(arrow.bit_width, "long")
    named = [
        (pa.types.is_float64, "double"), (pa.types.is_floating, "float"), (pa.types.is_boolean, "boolean"),
        (pa.types.is_decimal, "decimal"), (pa.types.is_date, "date"), (pa.types.is_timestamp, "timestamp"),
        (pa.types.is_string, "string"), (pa.types.is_large_string, "string"), (pa.types.is_null, "double")
    ]  # fmt: skip
    return next((name for test, name in named if test(arrow)), str(arrow))
