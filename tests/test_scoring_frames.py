"""Arrow to pandas: what the signature declares arrives, whatever the values of a batch are."""
# ruff: noqa: DTZ001  naive times are the point

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.records import ModelColumn
from pipelines.scoring.frames import to_frame
from pipelines.scoring.outputs import arrow_type

BIG = 2**53 + 1
TEXT = ModelColumn("t", "string", required=False)


def series(kind: str, values: list[Any], *, required: bool = False) -> pd.Series:
    """``values`` as a model's only column but one (which keeps them off the path for tables of doubles)."""
    wanted = [ModelColumn("x", kind, required), TEXT]
    frame = to_frame(wanted, [pa.array(values, arrow_type(kind)), pa.nulls(len(values), pa.string())])
    return frame["x"]


@pytest.mark.parametrize(
    ("kind", "required", "dtype"),
    [
        ("boolean", True, "bool"),
        ("boolean", False, "boolean"),
        ("integer", True, "int32"),
        ("integer", False, "Int32"),
        ("long", True, "int64"),
        ("long", False, "Int64"),
        ("float", True, "float32"),
        ("float", False, "float32"),
        ("double", True, "float64"),
        ("double", False, "float64"),
        ("string", True, "object"),
        ("binary", False, "object"),
        ("datetime", False, "datetime64[ns]"),
        ("array<long>", False, "object"),
    ],
)
def test_the_dtype_follows_from_the_signature_and_not_from_the_batch(kind, required, dtype):
    example = {
        "boolean": True, "string": "a", "binary": b"a", "datetime": dt.datetime(2026, 1, 1), "array<long>": [1],
    }.get(kind, 1)  # fmt: skip
    full = series(kind, [example, example], required=required)
    assert str(full.dtype) == dtype
    if not required:
        assert str(series(kind, [example, None]).dtype) == dtype
        assert str(series(kind, [None, None]).dtype) == dtype
    assert str(series(kind, [], required=required).dtype) == dtype


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("long", [BIG, None, 2**63 - 101, -(2**63)]),
        ("integer", [2**31 - 1, None, -(2**31)]),
        ("boolean", [True, None, False]),
        ("string", ["", None, "ü\U0001f600", "a\x00b"]),
        ("binary", [b"", None, b"\x00\xff"]),
    ],
)
def test_values_beside_a_null_stay_what_they_are(kind, values):
    assert [None if v is pd.NA else v for v in series(kind, values).tolist()] == values


@pytest.mark.parametrize("kind", ["float", "double"])
def test_a_null_float_is_nan_and_minus_zero_and_infinity_stay(kind):
    found = series(kind, [None, -0.0, float("inf"), float("nan")]).to_numpy()
    assert np.isnan(found[[0, 3]]).all()
    assert np.signbit(found[1])
    assert found[2] == np.inf


def test_times_are_naive_utc_to_the_microsecond():
    moment = dt.datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=dt.UTC)
    wanted = [ModelColumn("x", "datetime"), TEXT]
    for zone in ("UTC", "Europe/Berlin"):
        column = pa.array([moment, None], pa.timestamp("us", zone))
        found = to_frame(wanted, [column, pa.nulls(2, pa.string())])["x"]
        assert found.tolist() == [pd.Timestamp("2026-03-29 01:30:00.123456"), pd.NaT]


def test_a_time_that_pandas_cannot_hold_is_an_error_and_not_another_time():
    with pytest.raises(pa.ArrowInvalid, match="out of bounds"):
        series("datetime", [dt.datetime(9999, 12, 31)])


@pytest.mark.parametrize(
    ("kind", "rows", "dtypes"),
    [
        ("array<long>", [[BIG, 1], [2], []], ["int64", "int64", "int64"]),
        ("array<long>", [[BIG, None], [2], None], ["object", "int64", None]),
        ("array<integer>", [[None], [2]], ["object", "int32"]),
        ("array<double>", [[0.5], [-0.0]], ["float64", "float64"]),
        ("array<string>", [["a", None], []], ["object", "object"]),
    ],
)
def test_arrays_keep_their_values_and_a_null_in_one_row_changes_no_other(kind, rows, dtypes):
    found = series(kind, rows)
    assert [None if v is None else v.tolist() for v in found] == rows
    assert [None if v is None else str(v.dtype) for v in found] == dtypes


def test_nested_arrays_keep_large_numbers_beside_nulls():
    (row,) = series("array<array<long>>", [[[BIG, None], None, []]])
    assert [None if item is None else item.tolist() for item in row] == [[BIG, None], None, []]


def test_a_table_of_doubles_is_one_block_in_the_signature_s_order():
    wanted = [ModelColumn(n, "double") for n in ("b", "a b", "c.d")]
    frame = to_frame(wanted, [pa.array([1.0, None]), pa.array([2.0, 3.0]), pa.array([4.0, 5.0])])
    assert list(frame.columns) == ["b", "a b", "c.d"]
    assert frame.to_numpy()[0].tolist() == [1.0, 2.0, 4.0]
    assert np.isnan(frame.to_numpy()[1, 0])


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=20))
def test_any_nullable_long_survives(values):
    assert [None if v is pd.NA else int(v) for v in series("long", values)] == values
