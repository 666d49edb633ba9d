"""Marking, splitting and the quarantine: every row once, every value as it was read."""
# ruff: noqa: DTZ001  naive times are the point

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import screening, session
from pipelines.records import ModelColumn
from pipelines.rules import BITS, RowRule, broken, broken_names, column, guarded, mask_columns
from pipelines.screening import Screen

OUTPUT = (ModelColumn("prediction", "double"),)
NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module", autouse=True)
def in_utc(spark):
    with session.settings(spark, {**session.RUN_SETTINGS, "spark.sql.timeType.enabled": "true"}):
        yield


def always(stage: str = "input") -> RowRule:
    return RowRule("always", stage, lambda: F.lit(True))


def given_rows(spark: SparkSession, rows: list[tuple[Any, ...]], schema: str) -> DataFrame:
    """Rows as a source gives them: the table, then the raw record and the file."""
    return aside(spark.createDataFrame(rows, schema))


def aside(frame: DataFrame) -> DataFrame:
    return frame.withColumn("__raw", F.lit(None).cast("string")).withColumn("__file", F.lit("file:/in"))


def through(
    frame: DataFrame, screen: Screen, folder: Path, error: Column | None = None
) -> tuple[DataFrame, DataFrame]:
    """Mark, "score" (the prediction is 1.0 unless there is an error), split, write, and read both sides."""
    spark, folder = frame.sparkSession, folder / "out"
    scored = F.struct(
        F.lit(1.0).alias("prediction"),
        (F.lit(None) if error is None else error).cast("string").alias("__error"),
        F.lit(None).cast("binary").alias("__state"),
    )
    marked = screening.mark(frame, screen).withColumn("__scored", scored)
    flat = screening.mark_outputs(screening.flatten(marked, screen, "__scored"), screen)
    whole = screening.split(flat, screen, "m/1", F.lit(dt.datetime(2026, 11, 22)))
    whole.write.partitionBy(screening.OUTCOME).parquet(str(folder))
    schema, scored_files = (
        whole.drop(screening.OUTCOME).schema,
        folder / f"{screening.OUTCOME}={screening.SCORED}",
    )
    kept = spark.createDataFrame([], schema)
    if scored_files.is_dir():
        kept = spark.read.schema(schema).parquet(str(scored_files))
    packed = folder / f"{screening.OUTCOME}={screening.QUARANTINED}"
    return kept, screening.unpack(spark, str(packed) if packed.is_dir() else None, screen, "m/1")


UTC = dt.UTC
NAMES = [
    "a.b",
    "with space",
    'quo"te',
    "back`tick",
    "br[0]",
    "comma,semi;",
    "ünï",
    "per%cent",
    "{x}",
    "a\tb",
    "$1",
]
TYPES: dict[str, list[Any]] = {
    "boolean": [True, False],
    "tinyint": [-128, 127],
    "smallint": [-(2**15)],
    "int": [-(2**31), 2**31 - 1],
    "bigint": [2**53 + 1, 2**63 - 1, -(2**63)],
    "float": [NAN, -0.0, INF, -INF, 0.10000000149011612, 1.401298464324817e-45],
    "double": [NAN, -0.0, INF, -INF, 0.1, 5e-324, 1.7976931348623157e308, 1e16],
    "decimal(38,18)": [Decimal("12345678901234567890.123456789012345678"), Decimal("0.000000000000000001")],
    "decimal(38,0)": [Decimal("9" * 38)],
    "date": [dt.date(1, 1, 1), dt.date(1582, 10, 15), dt.date(9999, 12, 31)],
    "timestamp": [
        dt.datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC),
        dt.datetime(1883, 1, 1, tzinfo=UTC),
        dt.datetime(9999, 12, 30, 23, 59, 59, 999999, tzinfo=UTC),
    ],
    "timestamp_ntz": [dt.datetime(2026, 3, 29, 2, 30, 0, 1), dt.datetime(1, 1, 1)],
    "time(6)": [dt.time(23, 59, 59, 999999), dt.time(0)],
    "interval day to second": [dt.timedelta(days=-1, microseconds=5)],
    "binary": [b"", b"\x00\xff", b"abc"],
    "string": ["", "null", "\x00\x01\x1f\u2028\r\n", '"\\,{}[]', "ünï\U0001f600", " x "],
    "array<bigint>": [[], [None, 2**63 - 1]],
    "array<double>": [[NAN, None, -0.0, INF]],
    "array<interval day to second>": [[dt.timedelta(1), None]],
    "struct<`a.b`:int,`c d`:struct<e:string>>": [(1, ("x",)), (None, (None,)), (None, None)],
    "map<string,bigint>": [{"a": None, "": 2**53 + 1}, {}],
    "map<int,string>": [{1: "a", -2: None}, {}],
    "map<date,array<double>>": [{dt.date(2020, 2, 29): [NAN, None]}],
    "map<string,map<bigint,binary>>": [{"k": {2**53 + 1: b"\x00"}}],
    "array<struct<a:map<int,array<string>>,b:timestamp>>": [
        [({1: ["x", None]}, dt.datetime(2020, 1, 1)), None],
        [],
    ],
}


def bits(frame: DataFrame, names: list[str]) -> list[list[str]]:
    """Rows in a notation that tells -0.0 from 0.0 and NaN from NULL; the first column is the order."""
    return [
        [repr(v) for v in row]
        for row in sorted(frame.select(*map(column, names)).collect(), key=lambda r: r[0])
    ]


@pytest.fixture(scope="module")
def everything(spark, tmp_path_factory):
    """One table with a column of every type, sent to quarantine as a whole."""
    names = {kind: NAMES[i % len(NAMES)] + str(i) for i, kind in enumerate(TYPES)}
    depth = max(map(len, TYPES.values())) + 1
    rows = [(i, *(values[i] if i < len(values) else None for values in TYPES.values())) for i in range(depth)]
    quoted = ["`" + n.replace("`", "``") + "`" for n in names.values()]
    schema = "`__row` int, " + ", ".join(f"{q} {t}" for q, t in zip(quoted, TYPES, strict=True))
    table = spark.createDataFrame(rows, schema)
    kept, back = through(
        aside(table), Screen(table.schema, (always(),), (), (), OUTPUT), tmp_path_factory.mktemp("q")
    )
    assert kept.count() == 0
    types = [{n: frame.schema[n].dataType for n in names.values()} for frame in (table, back)]
    order = ["__row", *names.values()]
    return names, types, bits(table, order), bits(back, order)


@pytest.mark.parametrize("kind", TYPES)
def test_a_value_of_every_type_comes_back_from_the_quarantine_as_it_was(everything, kind):
    names, (types, types_back), rows, rows_back = everything
    assert types_back[names[kind]] == types[names[kind]]
    place = list(TYPES).index(kind) + 1
    assert [row[place] for row in rows_back] == [row[place] for row in rows]


def test_a_variant_comes_back_too(spark, tmp_path):
    table = spark.sql("""select parse_json('{"a": [1.5, null, "x"]}') v union all select null""")
    _, back = through(aside(table), Screen(table.schema, (always(),), (), (), OUTPUT), tmp_path)
    assert back.schema["v"].dataType == table.schema["v"].dataType
    assert {r.v for r in back.selectExpr("to_json(v) v").collect()} == {None, '{"a":[1.5,null,"x"]}'}


def test_the_quarantine_says_where_when_and_why(spark, tmp_path):
    frame = given_rows(spark, [(1, 5.0), (2, -1.0), (3, 7.0), (4, 8.0)], "k int, x double")
    screen = Screen(
        frame.drop("__raw", "__file").schema,
        (
            RowRule("negative", "input", lambda: F.col("x") < 0),
            RowRule("odd", "input", lambda: F.col("k") % 2 == 1, critical=False),
        ),
        (RowRule("too sure", "output", lambda: (F.col("prediction") == 1.0) & (F.col("k") == 4)),),
        ("k",),
        OUTPUT,
    )  # fmt: skip
    error = F.when(F.col("k") == 3, F.lit("ValueError: no"))
    kept, back = through(frame, screen, tmp_path, error)
    assert [(r.k, r.prediction, r.model_id) for r in kept.collect()] == [(1, 1.0, "m/1")]
    assert {r.k: (r.stage, r.reasons, r.source_file, r.model_id) for r in back.collect()} == {
        2: ("input", ["negative"], "file:/in", "m/1"),
        3: ("predict", ["odd", "ValueError: no"], "file:/in", "m/1"),
        4: ("output", ["too sure"], "file:/in", "m/1"),
    }


def test_columns_that_are_named_like_ours_are_kept_under_another_name(spark, tmp_path):
    frame = given_rows(spark, [("s", "r", 1)], "Stage string, reasons string, model_id int")
    _, back = through(
        frame, Screen(frame.drop("__raw", "__file").schema, (always(),), (), (), OUTPUT), tmp_path
    )
    (row,) = back.collect()
    assert (row.input_Stage, row.input_reasons, row.input_model_id) == ("s", "r", 1)
    assert (row.stage, row.reasons, row.model_id) == ("input", ["always"], "m/1")
    back.write.parquet(str(tmp_path / "table"))  # Spark refuses names that differ in case alone


def test_without_quarantined_rows_there_is_an_empty_table_of_the_same_columns(spark, tmp_path):
    frame = given_rows(spark, [(1,)], "k int")
    kept, back = through(
        frame, Screen(frame.drop("__raw", "__file").schema, (), (), ("k",), OUTPUT), tmp_path
    )
    assert (kept.count(), back.count()) == (1, 0)
    assert back.columns == ["k", "raw_record", "source_file", "stage", "reasons", "model_id"]


def test_a_model_may_have_outputs_called_error_and_state(spark):
    from pipelines.scoring import Scorer

    outputs = (ModelColumn("error", "double"), ModelColumn("state", "string"))
    names = (
        Scorer(None, "predict", outputs, ())
        .result_type(lambda t: {"double": "double"}.get(t, "string"))
        .names
    )
    assert len({n.casefold() for n in names}) == 4


def test_an_unreadable_record_breaks_no_rule_on_values_but_keeps_what_was_read(spark, tmp_path):
    table = spark.createDataFrame(
        [(1, None, "1,oops"), (2, None, None), (3, 4.0, None)], "k int, x double, __raw string"
    )
    frame = table.withColumn("__file", F.lit("f"))
    rules = guarded((
        RowRule("malformed", "read", lambda: F.col("__raw").isNotNull()),
        RowRule("required(x)", "input", lambda: F.col("x").isNull()),
    ))  # fmt: skip
    screen = Screen(table.drop("__raw").schema, rules, (), ("k",), OUTPUT)
    kept, back = through(frame, screen, tmp_path)
    assert [r.k for r in kept.collect()] == [3]
    assert {r.k: (r.stage, r.reasons, r.raw_record) for r in back.collect()} == {
        1: ("read", ["malformed"], "1,oops"),
        2: ("input", ["required(x)"], None),
    }


def verdicts(spark: SparkSession, rules: list[RowRule], values: list[Any]) -> list[tuple[Any, ...]]:
    """Masks of one row per value, whether it breaks a critical rule, and the names of those it breaks."""
    marked = spark.createDataFrame([(v,) for v in values], "x double").select(*mask_columns(rules)).collect()
    stored = spark.createDataFrame(
        [tuple(r) for r in marked], ", ".join(f"m{i} bigint" for i in range(len(marked[0])))
    )
    masks = [F.col(n) for n in stored.columns]
    return [tuple(r) for r in stored.select("*", broken(masks, rules), broken_names(masks, rules)).collect()]


def test_a_null_verdict_is_none_and_the_hundredth_rule_counts_like_the_first(spark):
    def above(limit: int) -> Callable[[], Column]:
        return lambda: F.col("x") > limit

    rules = [RowRule(f"r{i}", "input", above(i), critical=i == 99) for i in range(BITS + 41)]
    null, low, high = verdicts(spark, rules, [None, 59.5, 1000.0])
    assert null == (0, 0, False, [])
    assert low == (2**BITS - 1, 0, False, [f"r{i}" for i in range(BITS)])
    assert high == (2**BITS - 1, 2**41 - 1, True, [f"r{i}" for i in range(BITS + 41)])


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_finds_its_column_whatever_its_name(spark, name):
    frame = spark.range(1).withColumnRenamed("id", name)
    assert frame.select(column(name)).columns == [name]


numbers = st.one_of(st.none(), st.sampled_from([NAN, INF, -INF, -0.0]), st.floats(-5, 5))
thresholds = st.lists(st.tuples(st.floats(-5, 5), st.booleans()), max_size=4)


@settings(  # each example is some Spark jobs: no hunt for the smallest one
    max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    values=st.lists(numbers, min_size=5, max_size=40),
    before=thresholds,
    after=thresholds,
    poison=st.sets(st.integers(0, 11)),
)
def test_every_row_is_on_exactly_one_side_for_exactly_its_reasons(
    spark, tmp_path_factory, values, before, after, poison
):
    def rules(limits: Any, stage: str) -> tuple[RowRule, ...]:
        return tuple(
            RowRule(f"{stage}{i}", stage, lambda t=t: F.col("x") > t, critical=critical)
            for i, (t, critical) in enumerate(limits)
        )

    def breaks(limits: Any, value: float | None) -> list[tuple[int, bool]]:
        # Spark holds NaN to be above every number
        return [
            (i, c)
            for i, (t, c) in enumerate(limits)
            if value is not None and (math.isnan(value) or value > t)
        ]

    frame = given_rows(spark, list(enumerate(values)), "k int, x double")
    screen = Screen(
        frame.drop("__raw", "__file").schema,
        rules(before, "input"),
        rules(after, "output"),
        ("k", "x"),
        OUTPUT,
    )
    error = F.when(F.col("k").isin(list(poison) or [-1]), F.lit("ValueError: poison"))
    kept, back = through(frame, screen, tmp_path_factory.mktemp("p"), error)

    expected: dict[int, tuple[str, list[str]]] = {}
    for k, value in enumerate(values):
        first, last = breaks(before, value), breaks(after, value)
        warned = [f"input{i}" for i, _ in first]
        if any(c for _, c in first):
            # nobody has predicted this row: what was wrong with its prediction is not known
            expected[k] = ("input", warned + (["ValueError: poison"] if k in poison else []))
        elif k in poison:
            expected[k] = ("predict", [*warned, "ValueError: poison"])
        elif any(c for _, c in last):
            expected[k] = ("output", warned + [f"output{i}" for i, _ in last])
    quarantined, scored = back.collect(), kept.collect()
    assert {r.k: (r.stage, r.reasons) for r in quarantined} == expected
    assert sorted([r.k for r in scored] + [r.k for r in quarantined]) == list(range(len(values)))
    assert {r.k: repr(r.x) for r in (*scored, *quarantined)} == {k: repr(v) for k, v in enumerate(values)}


def test_the_packed_rows_have_the_predictions_schema_in_every_file(spark, tmp_path):
    frame = given_rows(spark, [(1, -1.0), (2, 1.0)], "k int, x double")
    rule = RowRule("negative", "input", lambda: F.col("x") < 0)
    through(frame, Screen(frame.drop("__raw", "__file").schema, (rule,), (), ("k",), OUTPUT), tmp_path)
    schemas = {str(pq.read_schema(f).names) for f in (tmp_path / "out").rglob("*.parquet")}
    assert schemas == {"['k', 'prediction', 'model_id', 'timestamp']"}


def test_a_name_of_ours_moves_aside_until_it_is_free(spark, tmp_path):
    frame = given_rows(spark, [("s", "t")], "stage string, input_stage string")
    _, back = through(
        frame, Screen(frame.drop("__raw", "__file").schema, (always(),), (), (), OUTPUT), tmp_path
    )
    (row,) = back.collect()
    assert (row.input_input_stage, row.input_stage, row.stage) == ("s", "t", "input")
