"""A program means what Spark means by the same expression, on data made to tell them apart."""

# ruff: noqa: DTZ001  naive times are the point

from __future__ import annotations

import datetime as dt
import math
from functools import reduce
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.vectorized import Totals, compile_aggregates, compile_columns
from pipelines.vectorized.program import as_arrow

DDL = (
    "x double, y double, f float, n bigint, i int, b boolean, s string, u string, d date, e date, "
    "t timestamp, z timestamp_ntz, raw binary"
)
NAN, INF = math.nan, math.inf
DAY, TIME = dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 13, 5, 0, 123456)
ROWS: list[tuple[Any, ...]] = [
    (1.0, 1.0, 1.5, 1, 1, True, "a", "a", DAY, DAY, TIME, TIME, b"\x00"),
    (None, NAN, None, None, None, None, None, "", None, DAY, None, None, None),
    (NAN, NAN, NAN, 2**53 + 1, -1, False, "", None, dt.date(1, 1, 1), None, dt.datetime(1900, 1, 1), TIME, b""),
    (INF, -INF, INF, 2**63 - 1, 2**31 - 1, True, "ä€😀", "b", dt.date(9999, 12, 31), DAY, TIME, None, b"x"),
    (-INF, None, -INF, -(2**63), -(2**31), False, "A", "a", dt.date(1969, 12, 31), dt.date(1970, 1, 1),
     dt.datetime(1969, 12, 31, 23, 59, 59, 999999), TIME, None),
    (-0.0, 0.0, 0.1, 0, 0, None, " a", " a ", DAY, dt.date(2024, 3, 1), TIME, TIME, b"y"),
    (2.5, 1e308, 16777216.0, 2**53, 7, True, "b", "c", None, None, dt.datetime(2038, 1, 19), None, None),
]  # fmt: skip
c = F.col
EXPRESSIONS: dict[str, Column | Any] = {
    "between": lambda: c("x").between(-1, 2.5),
    "between by a NaN": lambda: c("x").between(F.lit(NAN), F.lit(NAN)),
    "strict": lambda: (c("x") > -1) & (c("x") < F.lit(2.5)),
    "columns": lambda: c("x") <= c("y"),
    "columns equal": lambda: c("x") == c("y"),
    "columns below": lambda: c("x") < c("y"),
    "columns above": lambda: c("x") > c("y"),
    "null safe": lambda: c("x").eqNullSafe(c("y")),
    "null safe text": lambda: c("s").eqNullSafe(c("u")),
    "not equal": lambda: c("x") != c("y"),
    "is nan": lambda: F.isnan("x"),
    "is null or nan": lambda: c("x").isNull() | F.isnan("x"),
    "not null": lambda: c("raw").isNotNull(),
    "null": lambda: c("raw").isNull(),
    "three values and": lambda: (c("x") > 0) & c("b"),
    "three values or": lambda: (c("x") > 0) | c("b"),
    "three values not": lambda: ~((c("x") > 0) & ~c("b")),
    "coalesce": lambda: F.coalesce(c("x"), c("y"), F.lit(0.5)),
    "coalesce text": lambda: F.coalesce(c("s"), c("u")),
    "within a domain": lambda: F.coalesce(F.when(c("x").isNotNull(), ~c("x").between(0, 1)), F.lit(False)),
    "case": lambda: F.when(c("x") > 1, c("n")).when(c("b"), F.lit(5)).otherwise(c("i")),
    "case without else": lambda: F.when(c("b"), c("s")),
    "in": lambda: c("i").isin(1, 7, -1),
    "in with null": lambda: c("i").isin(1, None),
    "in doubles": lambda: c("x").isin(1.0, NAN, 0.0),
    "in text": lambda: c("s").isin("a", "ä€😀"),
    "in nothing": lambda: c("s").isin("q"),
    "in big": lambda: c("n").isin(2**53 + 1, 2**63 - 1),
    "in booleans": lambda: c("b").isin(True),
    "text order": lambda: c("s") < c("u"),
    "text bound": lambda: c("s") >= F.lit("a"),
    "text length": lambda: F.length("s").between(1, 2),
    "length": lambda: F.length("s"),
    "bigint beside a double": lambda: c("n") > 9.007199254740992e15,
    "bigint beside an int": lambda: c("n") >= c("i"),
    "int beside bigint literal": lambda: c("i") < F.lit(2**40),
    "float beside double": lambda: c("f") > 0.1,
    "float bound": lambda: c("f") == F.lit(0.1).cast("float"),
    "widened": lambda: c("i").cast("double"),
    "widened big": lambda: c("n").cast("double"),
    "widened float": lambda: c("f").cast("double"),
    "date bound": lambda: c("d") > F.lit(dt.date(1970, 1, 1)),
    "date bound as text": lambda: c("d") <= F.lit("2024-02-29").cast("date"),
    "dates": lambda: c("d") < c("e"),
    "date as time": lambda: c("d").cast("timestamp"),
    "time bound": lambda: c("t") >= F.lit("1970-01-01 00:00:00").cast("timestamp"),
    "time literal": lambda: c("t") == F.lit(dt.datetime(2024, 2, 29, 13, 5, 0, 123456)),
    "plain time": lambda: c("z").isNull(),
    "null literal": lambda: F.lit(None).cast("double"),
    "null of text": lambda: F.lit(None).cast("string"),
    "constant": lambda: F.lit(True),
    "equal to null": lambda: c("x") == F.lit(None).cast("double"),
    "arithmetic": lambda: c("x") + c("y") * 2.0 - F.abs(c("x")),
    "negative": lambda: -c("x") < 0,
    "negative bound": lambda: c("n") > -F.lit(2**53),
    "negative bound in a condition": lambda: F.expr("x > -1.5 and i >= -3"),
    "inexact": lambda: ~F.when(c("n").cast("double") < F.lit(2.0**63), c("n").cast("double").cast("bigint"))
    .eqNullSafe(c("n")),
}  # fmt: skip


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> DataFrame:
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    return spark.createDataFrame(ROWS, DDL).coalesce(1).cache()


@pytest.fixture(scope="module")
def batch(frame: DataFrame) -> dict[str, pa.Array]:
    table = frame.toArrow().combine_chunks()
    return {name: table[name].chunk(0) for name in table.column_names}


def agree(frame: DataFrame, batch: dict[str, pa.Array], columns: list[Column]) -> None:
    compiled = compile_columns(frame, columns)
    assert compiled.problems == ()
    expected = frame.select(*(e.alias(f"c{i}") for i, e in enumerate(columns))).toArrow()
    for i, (found, root) in enumerate(
        zip(compiled.program.arrays(batch, len(ROWS)), compiled.program.roots, strict=True)
    ):
        assert repr(found.to_pylist()) == repr(expected[f"c{i}"].to_pylist()), compiled.program.steps[root]


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_has_sparks_value_in_every_row(
    frame: DataFrame, batch: dict[str, pa.Array], name: str
) -> None:
    agree(frame, batch, [EXPRESSIONS[name]()])


def test_common_parts_are_computed_once(frame: DataFrame) -> None:
    rules = [F.when(c("x").isNotNull(), c("x") > k) for k in range(5)]
    ops = [s.op for s in compile_columns(frame, rules).program.steps]
    assert ops.count("isnotnull") == 1
    assert ops.count("lt") == 5


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        (lambda: c("s").rlike("^a+$"), "RLike"),
        (lambda: F.upper("s") == "A", "Upper"),
        (lambda: c("n") % 2 == 0, "Remainder"),
        (lambda: c("n") + 1 > 0, "Add"),
        (lambda: c("x") / c("y") > 1, "Divide"),
        (lambda: c("s").cast("double") > 1, "CAST of string to double"),
        (lambda: c("x").cast("bigint") > 1, "CAST of double to long"),
        (lambda: c("raw") == F.lit(b"x"), "literal of type binary"),
        (lambda: c("x").cast("decimal(10,2)") > 1, "decimal"),
    ],
)
def test_what_has_no_exact_counterpart_is_named(frame: DataFrame, expression: Any, problem: str) -> None:
    compiled = compile_columns(frame, [c("x") > 1, expression()])
    assert compiled.places == (0, None)
    assert any(problem in p for p in compiled.problems), compiled.problems


predicates = st.recursive(
    st.sampled_from(
        [
            lambda: c("x") > 0,
            lambda: c("x") <= c("y"),
            lambda: c("y").isNull(),
            lambda: F.isnan("y"),
            lambda: c("b"),
            lambda: c("s").isin("a", "b"),
            lambda: c("i").isin(1, None),
            lambda: c("n") >= c("i"),
            lambda: c("u") < c("s"),
            lambda: F.lit(None).cast("boolean"),
            lambda: c("d") < c("e"),
        ]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: lambda: p[0]() & p[1]()),
        st.tuples(inner, inner).map(lambda p: lambda: p[0]() | p[1]()),
        inner.map(lambda p: lambda: ~p()),
        st.tuples(inner, inner).map(lambda p: lambda: F.coalesce(p[0](), p[1]())),
        st.tuples(inner, inner, inner).map(lambda p: lambda: F.when(p[0](), p[1]()).otherwise(p[2]())),
        st.tuples(inner, inner).map(lambda p: lambda: p[0]().eqNullSafe(p[1]())),
    ),
    max_leaves=8,
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(predicates, min_size=8, max_size=8))
def test_any_combination_has_sparks_value(
    frame: DataFrame, batch: dict[str, pa.Array], built: list[Any]
) -> None:
    agree(frame, batch, [build() for build in built])


AGGREGATES: dict[str, Any] = {
    **{f"max {n}": (lambda n=n: F.max(n)) for n in "xfni"},
    **{f"min {n}": (lambda n=n: F.min(n)) for n in "xfni"},
    "mean": lambda: F.mean(F.when(c("x").between(-9, 9), c("x"))),
    "mean of integers": lambda: F.mean("i"),
    "sum": lambda: F.sum(c("i").cast("double")),
    "deviation": lambda: F.stddev_samp(c("i")),
    "deviation of one": lambda: F.stddev_samp(F.when(c("i") == 7, c("i"))),
    "of nothing": lambda: F.max(F.when(F.lit(False), c("x"))),
    "mean of nothing": lambda: F.mean(F.when(F.lit(False), c("x"))),
    "with a NaN": lambda: F.mean("y"),
    "distinct": lambda: F.approx_count_distinct("s"),
    "top": lambda: F.call_function("approx_top_k", c("s"), F.lit(100), F.lit(100)),
}


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize("cut", [0, 3, 7])
def test_an_aggregate_has_sparks_value_however_the_rows_are_grouped(
    frame: DataFrame, batch: dict[str, pa.Array], name: str, cut: int
) -> None:
    compiled, wanted = compile_aggregates(frame, [AGGREGATES[name]()])
    assert compiled.problems == ()
    whole = Totals.empty(wanted)  # type: ignore[arg-type]
    for start, stop in ((0, cut), (cut, len(ROWS))):
        part = Totals.empty(wanted)  # type: ignore[arg-type]
        rows = {k: v.slice(start, stop - start) for k, v in batch.items()}
        part.add(compiled.program.run(rows, stop - start), stop - start)
        whole.merge(part.states)
    expected, found = frame.select(AGGREGATES[name]()).collect()[0][0], whole.results()[0]
    if name == "top":
        assert {i["item"]: i["count"] for i in found} == {i["item"]: i["count"] for i in expected}
    else:
        assert found == pytest.approx(expected, nan_ok=True)


def test_more_distinct_values_than_are_tracked_are_no_count(frame: DataFrame) -> None:
    compiled, wanted = compile_aggregates(
        frame, [F.call_function("approx_top_k", c("n"), F.lit(9), F.lit(9)), F.approx_count_distinct("n")]
    )
    totals = Totals.empty(wanted)  # type: ignore[arg-type]
    for start in (0, 3000):
        columns = {"n": pa.array(range(start, start + 3000), pa.int64())}
        totals.add(compiled.program.run(columns, 3000), 3000)
    top, distinct = totals.results()
    assert top == []
    assert distinct > 4096


def test_a_constant_is_an_array_of_as_many_values() -> None:
    assert as_arrow(("a", None), "string", 2).to_pylist() == ["a", "a"]
    assert reduce(lambda a, b: a + b, as_arrow((2, None), "long", 3).to_pylist()) == 6
