"""The schema contract between a source and a model's signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StructType, _parse_datatype_string

from pipelines.binding import Binding, bind, spark_type, wanted_types
from pipelines.errors import ConfigInvalid
from pipelines.records import ModelColumn


def bound(
    inputs: Sequence[ModelColumn],
    schema: str,
    renamed: Mapping[str, str] | None = None,
    required: Sequence[str] = (),
) -> Binding:
    parsed = _parse_datatype_string(schema)
    assert isinstance(parsed, StructType)
    return bind(inputs, parsed, renamed or {}, required)


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        bound(*args, **kwargs)
    assert caught.value.exit_code == 78
    return str(caught.value)


WIDENING = [
    ("double", "tinyint"), ("double", "smallint"), ("double", "int"), ("double", "bigint"), ("double", "float"),
    ("double", "double"), ("double", "decimal(38,10)"), ("float", "smallint"), ("float", "float"),
    ("long", "tinyint"), ("long", "int"), ("long", "bigint"), ("integer", "tinyint"), ("integer", "int"),
    ("string", "string"), ("string", "varchar(8)"), ("string", "char(3)"), ("boolean", "boolean"),
    ("binary", "binary"), ("datetime", "date"), ("datetime", "timestamp"), ("datetime", "timestamp_ntz"),
    ("array<double>", "array<float>"), ("array<long>", "array<int>"), ("array<array<double>>", "array<array<double>>"),
]  # fmt: skip
NARROWING = [
    ("integer", "bigint"), ("long", "double"), ("long", "decimal(18,0)"), ("float", "double"), ("float", "int"),
    ("double", "string"), ("double", "boolean"), ("string", "int"), ("string", "date"), ("boolean", "int"),
    ("datetime", "string"), ("datetime", "bigint"), ("binary", "string"), ("array<double>", "double"),
    ("double", "array<double>"), ("array<double>", "array<bigint>"), ("array<array<double>>", "array<array<bigint>>"),
    ("array<integer>", "array<bigint>"), ("double", "struct<x:double>"), ("double", "map<string,double>"),
]  # fmt: skip


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize(("wanted", "found"), WIDENING)
def test_a_type_that_fits_or_widens_is_accepted(wanted: str, found: str) -> None:
    assert bound([ModelColumn("x", wanted)], f"x {found}").unused == ()


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize(("wanted", "found"), NARROWING)
def test_a_type_that_would_lose_values_is_refused_by_name(wanted: str, found: str) -> None:
    message = refusal([ModelColumn("x", wanted)], f"x {found}")
    assert f"model input 'x': column 'x' is {found}, expected {wanted}; it would lose values" in message


@pytest.mark.usefixtures("spark")
def test_all_missing_and_all_wrong_columns_are_named_at_once_with_near_misses() -> None:
    inputs = [ModelColumn("age", "double"), ModelColumn("Höhe", "double"), ModelColumn("name", "string")]
    message = refusal(inputs, "AGE double, hohe double, name int", {"weight": "w"}, ["machine_id", "name"])
    assert "5 problem(s)" in message
    assert "model input 'age' (double): column 'age' is missing; near: 'AGE'" in message
    assert "model input 'Höhe' (double): column 'Höhe' is missing; near: 'hohe'" in message
    assert "column 'name' is int, expected string" in message
    assert "source.columns.weight: the model has no such input" in message
    assert "column 'machine_id' is missing" in message


@pytest.mark.usefixtures("spark")
def test_a_renamed_column_that_is_missing_is_looked_for_under_its_new_name() -> None:
    message = refusal([ModelColumn("age", "double")], "age double, years_old double", {"age": "yearsold"})
    assert "model input 'age' (double): column 'yearsold' is missing; near: 'years_old'" in message


def test_columns_are_bound_by_name_whatever_their_order_and_extra_ones_are_left_alone(
    spark: SparkSession,
) -> None:
    inputs = [ModelColumn("b", "double"), ModelColumn("a", "long"), ModelColumn("c.d [e]", "string")]
    frame = spark.sql("select 'z' as `c.d [e]`, 7 as extra, 1 as old_a, 2.5D as b")
    binding = bind(inputs, frame.schema, {"a": "old_a"}, ["extra"])
    row = frame.select(*(c() for c in binding.columns)).first()
    assert tuple(row) == (2.5, 1, "z")
    assert binding.unused == ("extra",)


def test_a_missing_optional_column_becomes_a_typed_null(spark: SparkSession) -> None:
    inputs = [
        ModelColumn(f"x{i}", kind, required=False)
        for i, kind in enumerate(["long", "string", "array<double>"])
    ]
    binding = bound(inputs, "other int")
    frame = spark.range(1).select(*(c().alias(i.name) for c, i in zip(binding.columns, inputs, strict=True)))
    assert [f.dataType.simpleString() for f in frame.schema] == ["bigint", "string", "array<double>"]
    assert tuple(frame.first()) == (None, None, None)
    assert binding.rules == ()


def test_a_required_input_admits_neither_null_nor_nan(spark: SparkSession) -> None:
    frame = spark.sql("select * from values (1.0D, 1), (NULL, 2), (double('NaN'), NULL) as t(x, n)")
    rules = bind([ModelColumn("x", "double"), ModelColumn("n", "long")], frame.schema, {}, []).rules
    assert [r.name for r in rules] == ["required(x)", "required(n)"]
    assert [tuple(r) for r in frame.select(*(r.predicate() for r in rules)).collect()] == [
        (False, False),
        (True, False),
        (True, True),
    ]


def test_two_inputs_of_one_column_break_each_rule_once() -> None:
    inputs = [ModelColumn("a", "double"), ModelColumn("b", "double")]
    binding = bind(inputs, StructType().add("x", LongType()), {"a": "x", "b": "x"}, [])
    assert [r.name for r in binding.rules] == ["required(x)", "inexact(x)"]


@settings(max_examples=5, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.integers(-(2**63), 2**63 - 1),
            st.integers(-3, 3).map(lambda d: 2**53 + d),
            st.integers(-3, 3).map(lambda d: -(2**53) + d),
            st.integers(0, 10).map(lambda d: 2**63 - 1 - d),
            st.none(),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_a_bigint_for_a_double_input_is_inexact_exactly_where_python_says_so(
    spark: SparkSession, values: list[int | None]
) -> None:
    binding = bound([ModelColumn("x", "double", required=False)], "x bigint")
    (rule,) = binding.rules
    frame = spark.createDataFrame([(i, v) for i, v in enumerate(values)], "i int, x bigint")
    with_verdict = frame.select("i", F.coalesce(rule.predicate(), F.lit(False)), binding.columns[0]())
    for i, inexact, as_double in with_verdict.collect():
        exact = values[i]
        assert inexact == (exact is not None and int(float(exact)) != exact)
        assert as_double == (None if exact is None else float(exact))


def test_a_decimal_reaches_a_double_input_as_the_nearest_double(spark: SparkSession) -> None:
    values = [Decimal("0.1"), Decimal("12345678901234567.89"), Decimal("-0.005"), None]
    frame = spark.createDataFrame([(v,) for v in values], "x decimal(38,10)")
    column = bind([ModelColumn("x", "double", required=False)], frame.schema, {}, []).columns[0]()
    assert [r[0] for r in frame.select(column).collect()] == [None if v is None else float(v) for v in values]


@pytest.mark.parametrize(
    ("model_type", "expected"),
    [
        ("long", "bigint"),
        ("datetime", "timestamp"),
        ("array<array<float>>", "array<array<float>>"),
        ("array<long>", "array<bigint>"),
    ],
)
def test_model_types_have_a_spark_type(model_type: str, expected: str) -> None:
    assert spark_type(model_type) == expected


def test_a_text_source_is_declared_by_the_signature_and_by_the_configuration_before_it() -> None:
    inputs = [ModelColumn("a", "double"), ModelColumn("b", "long"), ModelColumn("v", "array<double>")]
    assert wanted_types(inputs, {"a": "old a"}, {"b": "int", "id": "bigint"}) == {
        "old a": "double",
        "b": "int",
        "id": "bigint",
    }
