"""What models return becomes typed columns, or an error that says what came and what was expected."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines.records import ModelColumn
from pipelines.scoring.outputs import WrongOutput, arrow_type, output_columns, to_arrays

LABEL = ModelColumn("prediction", "long")
PROBABILITY = ModelColumn("probability", "array<double>")
NAN = float("nan")


def one(kind: str) -> list[ModelColumn]:
    return [ModelColumn("prediction", kind)]


def convert(
    result: Any, rows: int, columns: list[ModelColumn], method: str = "predict", classes: Any = None
) -> Any:
    arrays, bad = to_arrays(result, rows, method, columns, classes)
    assert [a.type for a in arrays] == [arrow_type(c.type) for c in columns]
    assert all(len(a) == rows for a in arrays)
    return [a.to_pylist() for a in arrays], bad.tolist()


@pytest.mark.parametrize(
    ("method", "declared", "expected"),
    [
        ("predict", {"y": "double"}, {"prediction": "double"}),
        ("predict", {"y": "array<double>"}, {"prediction": "array<double>"}),
        ("predict", {"a": "long", "b": "string"}, {"a": "long", "b": "string"}),
        ("predict_proba", {"y": "string"}, {"prediction": "string", "probability": "array<double>"}),
        ("predict_proba", {"y": "array<double>"}, {"prediction": "array<double>"}),
        ("decision_function", {"y": "long"}, {"prediction": "array<double>"}),
    ],
)
def test_the_columns_of_each_method(method, declared, expected):
    found = output_columns(method, [ModelColumn(n, t) for n, t in declared.items()])
    assert {c.name: c.type for c in found} == expected


@pytest.mark.parametrize(
    ("kind", "result", "expected"),
    [
        ("double", np.array([1.5, 2.5]), [1.5, 2.5]),
        ("double", np.array([[1.5], [2.5]]), [1.5, 2.5]),
        ("double", np.array([1, 2]), [1.0, 2.0]),
        ("double", [1.5, 2], [1.5, 2.0]),
        ("double", pd.Series([1.5, 2.5]), [1.5, 2.5]),
        ("double", pd.DataFrame({"prediction": [1.5, 2.5], "more": [0, 0]}), [1.5, 2.5]),
        ("double", pd.DataFrame({"score": [1.5, 2.5]}), [1.5, 2.5]),
        ("float", np.array([0.5, 1.0], np.float32), [0.5, 1.0]),
        ("long", pd.Series([2**53 + 1, 2], dtype="Int64"), [2**53 + 1, 2]),
        ("long", np.array([2**63 - 1, 0]), [2**63 - 1, 0]),
        ("long", np.array([1, 2], np.uint64), [1, 2]),
        ("long", np.array([2**53 + 1, 2], object), [2**53 + 1, 2]),
        ("integer", np.array([1, 2]), [1, 2]),
        ("boolean", np.array([True, False]), [True, False]),
        ("boolean", pd.Series([True, False], dtype="boolean"), [True, False]),
        ("string", np.array(["a", "bc"]), ["a", "bc"]),
        ("string", ["a\x00", ""], ["a\x00", ""]),
        ("string", pd.Series(["a", "b"], dtype="category"), ["a", "b"]),
        ("string", pd.Series(["a", "b"], dtype="string"), ["a", "b"]),
        ("binary", [b"a\x00", b""], [b"a\x00", b""]),
        ("array<double>", np.array([[1.0, 2.0], [3.0, 4.0]]), [[1.0, 2.0], [3.0, 4.0]]),
        ("array<long>", [[1, 2], [2**53 + 1]], [[1, 2], [2**53 + 1]]),
        ("array<long>", np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        ("array<double>", [[1.0], [2.0, 3.0]], [[1.0], [2.0, 3.0]]),
        ("array<double>", pd.Series([np.array([1.0]), [2.0, 3.0]]), [[1.0], [2.0, 3.0]]),
        ("array<string>", [["a"], []], [["a"], []]),
    ],
)
def test_a_value_per_row_arrives_whatever_holds_it(kind, result, expected):
    assert convert(result, 2, one(kind)) == ([expected], [False, False])


def test_times_arrive_to_the_microsecond_in_utc():
    naive = pd.Series([pd.Timestamp("2026-01-01 00:00:00.123456"), pd.NaT])
    ((first, second),), bad = convert(naive, 2, one("datetime"))
    assert (first, second) == (dt.datetime(2026, 1, 1, microsecond=123456, tzinfo=dt.UTC), None)
    assert bad == [False, True]
    aware = naive.dt.tz_localize("Europe/Berlin")
    assert convert(aware, 2, one("datetime"))[0][0][0] == dt.datetime(
        2025, 12, 31, 23, 0, 0, 123456, tzinfo=dt.UTC
    )


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        ("double", [0.5, NAN]),
        ("double", [0.5, float("inf")]),
        ("double", [0.5, float("-inf")]),
        ("double", np.array([0.5, None], object)),
        ("float", [0.5, 1e300]),
        ("long", pd.Series([2**53 + 1, None], dtype="Int64")),
        ("boolean", pd.Series([True, None], dtype="boolean")),
        ("string", ["a", None]),
        ("string", np.array(["a", NAN], object)),
        ("binary", [b"a", None]),
        ("array<double>", np.array([[1.0, 2.0], [1.0, NAN]])),
        ("array<double>", [[1.0], [2.0, NAN]]),
        ("array<double>", [[1.0], [None]]),
        ("array<double>", [[1.0], None]),
        ("array<float>", [[1.0], [float("inf")]]),
        ("array<array<double>>", [[[1.0]], [[1.0], [NAN]]]),
    ],
)
def test_missing_nan_and_infinite_predictions_are_marked_row_by_row(kind, result):
    assert convert(result, 2, one(kind))[1] == [False, True]


@pytest.mark.parametrize(
    ("columns", "result", "message"),
    [
        (one("double"), np.array([1.0]), "returned 1 rows for a batch of 2"),
        (one("double"), np.array([1.0, 2.0, 3.0]), "returned 3 rows for a batch of 2"),
        (one("double"), [], "returned 0 rows for a batch of 2"),
        (one("double"), 1.0, "a single float, expected one value per row"),
        (one("double"), None, "a single NoneType"),
        (one("double"), {"a": [1, 2]}, "a single dict"),
        (one("double"), ["1.5", "2"], "returned <U3 .* expected double"),
        (one("double"), np.array(["1.5", "2"], object), "not double"),
        (one("double"), np.array([2**53 + 1, 0]), "not double"),
        (one("long"), np.array([2.7, 1.0]), "returned float64 .* expected long"),
        (one("long"), np.array([2.7, 1], object), "not long"),
        (one("long"), np.array([2**64 - 1, 0], np.uint64), "not long"),
        (one("integer"), np.array([2**40, 0]), "not integer"),
        (one("boolean"), np.array([1, 0]), "returned int64 .* expected boolean"),
        (one("string"), np.array([1, 2]), "returned int64 .* expected string"),
        (one("string"), [1, 2], "not string"),
        (one("double"), np.zeros((2, 3)), r"shape \(2, 3\)"),
        (one("array<double>"), np.array([1.0, 2.0]), "returned one float64 per row, expected array<double>"),
        (one("array<double>"), np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        (one("array<long>"), [["a"], [1]], "not array<long>"),
        (one("array<long>"), [[2.7], [1]], "not array<long>"),
        (one("array<long>"), np.array([[2.7], [1]]), "not array<long>"),
        (one("double"), pd.Series([1.0, 2.0], index=[1, 0]), "another order"),
        (one("double"), pd.Series([1.0, 2.0], index=[5, 6]), "another order"),
        (one("double"), pd.DataFrame({"prediction": [1.0, 2.0]}, index=["a", "b"]), "another order"),
        (one("double"), pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0]}), r"the columns \['a', 'b'\]"),
    ],
)
def test_a_result_of_another_shape_or_type_is_refused_in_words(columns, result, message):
    with pytest.raises(WrongOutput, match=message):
        to_arrays(result, 2, "predict", columns, None)


TWO = [ModelColumn("a", "long"), ModelColumn("b", "string")]


@pytest.mark.parametrize(
    "result",
    [
        pd.DataFrame({"b": ["x", "y"], "a": [1, 2]}),
        pd.DataFrame({"b": ["x", "y"], "other": [0, 0], "a": [1, 2]}),
        pd.DataFrame({0: [1, 2], 1: ["x", "y"]}),
    ],
)
def test_several_outputs_are_found_by_name_and_by_position_only_where_no_name_is_known(result):
    assert convert(result, 2, TWO) == ([[1, 2], ["x", "y"]], [False, False])


def test_a_half_known_table_is_refused_rather_than_shifted():
    with pytest.raises(WrongOutput, match=r"the columns \['b', 'c'\], expected \['a', 'b'\]"):
        convert(pd.DataFrame({"b": [1, 2], "c": ["x", "y"]}), 2, TWO)


def test_several_outputs_may_come_as_one_matrix():
    columns = [ModelColumn("a", "double"), ModelColumn("b", "double")]
    assert convert(np.array([[1.0, 2.0], [3.0, NAN]]), 2, columns) == (
        [[1.0, 3.0], [2.0, None]],
        [False, True],
    )
    with pytest.raises(WrongOutput, match=r"expected \(rows, 2\)"):
        convert(np.zeros((2, 3)), 2, columns)


def test_probabilities_come_with_the_label_of_the_likeliest_class():
    matrix = np.array([[0.2, 0.8], [0.5, 0.5]])
    columns = [ModelColumn("prediction", "string"), PROBABILITY]
    assert convert(matrix, 2, columns, "predict_proba", np.array(["no", "yes"])) == (
        [["yes", "no"], matrix.tolist()],
        [False, False],
    )


@pytest.mark.parametrize("result", [np.array([0.2, 0.8]), pd.DataFrame({"x": [0.1, 0.2]})["x"]])
def test_probabilities_that_are_no_matrix_are_refused(result):
    with pytest.raises(WrongOutput, match=r"expected \(rows, classes\)"):
        to_arrays(result, 2, "predict_proba", [LABEL, PROBABILITY], np.array([0, 1]))


def test_a_row_with_a_nan_probability_is_marked_and_the_others_stay():
    matrix = np.array([[0.1, 0.9], [NAN, 0.5]])
    _, bad = convert(matrix, 2, [LABEL, PROBABILITY], "predict_proba", np.array([0, 1]))
    assert bad == [False, True]


def test_a_decision_of_one_value_per_row_is_an_array_of_one():
    assert convert(np.array([0.5, -1.5]), 2, one("array<double>"), "decision_function")[0] == [
        [[0.5], [-1.5]]
    ]


def test_every_type_of_a_signature_has_an_arrow_type():
    assert arrow_type("array<array<long>>") == pa.list_(pa.list_(pa.int64()))
