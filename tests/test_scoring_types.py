"""Through Spark: what the signature declares reaches the model bit for bit, once per row, and comes back typed."""
# ruff: noqa: DTZ001  naive times are the point

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import model_factory
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from model_factory import Describe, Echo, Fussy, config, save, score, signature
from pyspark.sql import functions as F

from pipelines import failures
from pipelines.errors import ConfigInvalid, ModelFailed

NAN = float("nan")


@pytest.fixture(autouse=True, params=["udf", "scan"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One behaviour, two engines."""
    monkeypatch.setattr(model_factory, "ENGINE", request.param)
    return str(request.param)


MOMENT = dt.datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=dt.UTC)


def table(spark: Any, folder: Path, rows: list[tuple[Any, ...]], schema: str, files: int = 1) -> str:
    path = folder / "data"
    with model_factory.session.settings(spark, model_factory.session.RUN_SETTINGS):
        spark.createDataFrame(rows, schema).repartition(files).write.parquet(str(path))
    return str(path)


def described(row: str) -> tuple[dict[str, str], str]:
    kinds, values = row.split(" | ", 1)
    return dict(k.split(":") for k in kinds.split(", ")), values


def test_every_type_reaches_the_model_as_its_signature_declares(spark, tmp_path):
    inputs = {
        "long": "long?", "int": "integer?", "flag": "boolean?", "price": "double?", "small": "double?",
        "day": "datetime?", "moment": "datetime?", "local": "datetime?",
        "text": "string?", "bytes": "binary?", "list": "array<long>?",
    }  # fmt: skip
    schema = (
        "k int, long bigint, int smallint, flag boolean, price decimal(12,2), small float, day date, "
        "moment timestamp, local timestamp_ntz, text string, bytes binary, list array<bigint>"
    )
    first = (1, 2**53 + 1, 7, True, Decimal("12.34"), 0.5, dt.date(2026, 3, 29), MOMENT,
             dt.datetime(2026, 3, 29, 2, 30), "ü\x00", b"\x00\xff", [2**53 + 1, None])  # fmt: skip
    second = (2, 2**63 - 101, None, None, None, NAN, None, None, None, None, None, None)
    data = table(spark, tmp_path, [first, second, (3, *[None] * 11)], schema)
    uri = save(Describe(), tmp_path / "m", signature(inputs, {None: "string"}))
    found = {
        r["k"]: described(r["prediction"]) for r in score(spark, config(uri, data), tmp_path).predictions
    }
    kinds = {
        "long": "Int64", "int": "Int32", "flag": "boolean", "price": "float64", "small": "float64",
        "day": "datetime64[ns]", "moment": "datetime64[ns]", "local": "datetime64[ns]",
        "text": "object", "bytes": "object", "list": "object",
    }  # fmt: skip
    assert [f[0] for f in found.values()] == [kinds] * 3
    times = ["2026-03-29 00:00:00", "2026-03-29 01:30:00.123456", "2026-03-29 02:30:00"]
    assert found[1][1] == (
        "9007199254740993, 7, True, 12.34, 0.5, " + ", ".join(f"Timestamp('{t}')" for t in times)
        + ", 'ü\\x00', b'\\x00\\xff', array([9007199254740993, None], dtype=object)"
    )  # fmt: skip
    assert found[2][1] == "9223372036854775707, None, None, nan, nan, None, None, None, None, None, None"
    assert found[3][1] == "None, None, None, nan, nan, None, None, None, None, None, None"


def test_several_outputs_come_back_as_typed_columns_bit_for_bit(spark, tmp_path):
    kinds = {
        "long": "long?", "flag": "boolean?", "number": "double?", "error": "string?", "state": "binary?",
        "moment": "datetime?", "a.b": "array<long>?", "c `d": "integer?",
    }  # fmt: skip
    schema = (
        "k int, long bigint, flag boolean, number double, error string, state binary, moment timestamp, "
        "`a.b` array<bigint>, `c ``d` int"
    )
    whole = [
        (1, 2**53 + 1, True, -0.0, "ü", b"\x00", MOMENT, [2**53 + 1], 1),
        (2, 2**63 - 101, False, 5e-324, "", b"", MOMENT, [], -(2**31)),
    ]
    broken = (3, None, None, None, None, None, None, None, None)
    data = table(spark, tmp_path, [*whole, broken], schema)
    uri = save(Echo(), tmp_path / "m", signature(kinds, kinds))
    found = score(spark, config(uri, data), tmp_path)
    assert {n: t for n, t in found.types.items() if n in kinds} == {
        "long": "bigint", "flag": "boolean", "number": "double", "error": "string", "state": "binary",
        "moment": "timestamp", "a.b": "array<bigint>", "c `d": "int",
    }  # fmt: skip
    for row, expected in zip(sorted(found.predictions, key=lambda r: r["k"]), whole, strict=True):
        values = [
            v.astimezone(dt.UTC) if isinstance(v, dt.datetime) else v
            for v in (row["k"], *(row[n] for n in kinds))
        ]
        assert list(map(repr, values)) == list(map(repr, expected))
    (refused,) = found.quarantine
    assert (refused["k"], refused["stage"]) == (3, "predict")
    assert refused["reasons"] == ["prediction is missing, NaN or infinite"]


def test_a_column_the_model_can_do_without_arrives_as_typed_nulls(spark, tmp_path):
    data = table(spark, tmp_path, [(1, 0.5), (2, 1.5)], "k int, x double")
    inputs = {
        "long": "long?",
        "flag": "boolean?",
        "text": "string?",
        "x": "double",
        "moment": "datetime?",
        "list": "array<long>?",
    }
    uri = save(Describe(), tmp_path / "m", signature(inputs, {None: "string"}))
    found = [described(r["prediction"]) for r in score(spark, config(uri, data), tmp_path).predictions]
    assert found[0][0] == {
        "long": "Int64", "flag": "boolean", "text": "object", "x": "float64", "moment": "datetime64[ns]",
        "list": "object",
    }  # fmt: skip
    assert sorted(values for _, values in found) == [f"None, None, None, {x}, None, None" for x in (0.5, 1.5)]


def test_extra_reordered_and_renamed_columns_find_their_inputs_by_name(spark, tmp_path):
    data = table(spark, tmp_path, [("?", 2.0, 1, 1.0)], "more string, `the b` double, k int, a double")
    uri = save(Describe(), tmp_path / "m", signature({"a": "double", "b": "double"}, {None: "string"}))
    found = score(spark, config(uri, data, source={"columns": {"b": "the b"}}), tmp_path).predictions
    assert described(found[0]["prediction"]) == ({"a": "float64", "b": "float64"}, "1.0, 2.0")


def test_probabilities_come_back_beside_the_label(spark, tmp_path, engine):
    from sklearn.linear_model import LogisticRegression

    x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    model = LogisticRegression().fit(x, ["no", "no", "yes", "yes"])
    model.feature_names_in_ = np.array(["x"], dtype=object)
    data = table(spark, tmp_path, [(i, float(v)) for i, (v,) in enumerate(x)], "k int, x double")
    uri = save(model, tmp_path / "m", signature({"x": "double"}, {None: "string"}), "skops")
    wanted = config(uri, data, model={"predict": "predict_proba", "allow_pickle": False})
    found = score(spark, wanted, tmp_path)
    assert found.engine == engine
    assert found.types["probability"] == "array<double>"
    by_key = sorted(found.predictions, key=lambda r: r["k"])
    assert [r["prediction"] for r in by_key] == ["no", "no", "yes", "yes"]
    assert np.array([r["probability"] for r in by_key]) == pytest.approx(model.predict_proba(x))


@pytest.fixture
def small_batches(spark):
    with model_factory.session.settings(spark, {"spark.sql.execution.arrow.maxRecordsPerBatch": "4"}):
        yield 4


def fake_suite(*rules: tuple[str, Any, bool]) -> Any:
    """What a compiled suite declares: a condition per rule, critical or only counted."""
    conditions = [SimpleNamespace(key=f"key {name}", column=column) for name, column, _ in rules]
    critical = {name: f"key {name}" for name, _, severe in rules if severe}
    return SimpleNamespace(conditions=conditions, critical=critical, aggregates={})


def test_each_row_meets_the_model_exactly_once_and_each_worker_loads_it_once(
    spark, tmp_path, small_batches, engine
):
    rows = [(i, None if i % 10 == 0 else float(i)) for i in range(96)]
    data = table(spark, tmp_path, rows, "k int, x double", files=12)
    log = tmp_path / "calls"
    uri = save(
        Fussy(log=str(log)), tmp_path / "m", signature({"k": "double", "x": "double"}, {None: "double"})
    )
    odd = F.col("k").isin(list(range(1, 96, 2)))
    after = fake_suite(("small", F.col("prediction") < 20, True), ("odd", odd, False))
    found = score(spark, config(uri, data), tmp_path, (None, after))

    calls = [line.split() for line in log.read_text().splitlines()]
    reached = {i for i in range(96) if i % 10}
    assert sorted(int(k) for call in calls for k in call) == sorted(reached)
    assert {r["k"] for r in found.predictions} == {k for k in reached if 2 * k >= 20}
    state = found.measured.state
    assert len(state.loads) == len(state.workers) == len({w for w, _ in state.loads})
    assert engine == "scan" or max(map(len, calls)) <= small_batches
    assert found.engine == engine
    assert (state.rows, state.predicted, state.calls) == (96, len(reached), len(calls))
    assert state.batches >= (12 if engine == "scan" else 24) > len(state.loads)
    assert found.measured.output_counts["small"] == sum(2 * k < 20 for k in reached)
    assert found.measured.output_counts["key odd"] == sum(k % 2 for k in reached)


@pytest.mark.parametrize(
    ("poison", "error", "message"),
    [
        (
            [1.0],
            ModelFailed,
            "predict, partition [0-9]+, batch [0-9]+: the model raises on .*ValueError: cannot score 1.0",
        ),
        (None, ConfigInvalid, "AttributeError: Fussy has no predict_proba.*Check model.predict"),
    ],
)
def test_a_model_that_fails_as_a_whole_says_where_and_why(spark, tmp_path, poison, error, message):
    data = table(spark, tmp_path, [(i, 1.0) for i in range(20)], "k int, x double")
    signed = signature({"k": "double", "x": "double"}, {None: "double"})
    uri = save(Fussy(poison or ()), tmp_path / "m", signed)
    wanted = config(uri, data, model={"predict": "predict" if poison else "predict_proba"})
    with pytest.raises(error, match=message), failures.explained():
        score(spark, wanted, tmp_path)


def test_mlflow_s_own_loader_gets_nullable_integers_undamaged(spark, tmp_path):
    import mlflow.pyfunc

    class Text(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return [f"{v}" for v in model_input["x"]]

    signed = signature({"x": "long?"}, {None: "string"})
    mlflow.pyfunc.save_model(str(tmp_path / "m"), python_model=Text(), signature=signed, pip_requirements=[])
    data = table(spark, tmp_path, [(1, 2**53 + 1), (2, None)], "k int, x bigint")
    found = score(spark, config(str(tmp_path / "m"), data), tmp_path)
    assert {r["k"]: r["prediction"] for r in found.predictions} == {1: "9007199254740993", 2: "<NA>"}


numbers = st.one_of(st.none(), st.just(NAN), st.integers(-9, 9).map(float))


@settings(  # each example is a run: no hunt for the smallest one
    max_examples=2, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    values=st.lists(numbers, min_size=12, max_size=60),
    limit=st.integers(-9, 9),
    critical=st.booleans(),
    poison=st.integers(-9, 9),
)
def test_every_row_read_is_scored_or_quarantined_for_its_reason(
    spark, tmp_path_factory, small_batches, values, limit, critical, poison
):
    folder = tmp_path_factory.mktemp("run")
    data = table(spark, folder, list(enumerate(values)), "k int, x double", files=2)
    signed = signature({"k": "double", "x": "double"}, {None: "double"})
    uri = save(Fussy([float(poison)]), folder / "m", signed)
    before = fake_suite(("above", F.col("x") > limit, critical))
    try:
        with failures.explained():
            found = score(spark, config(uri, data), folder, (before, None))
    except ModelFailed:  # poison alone in a task: the model as a whole is to blame
        assert float(poison) in values
        return

    expected: dict[int, tuple[str, list[str]]] = {}
    for k, value in enumerate(values):
        missing = value is None or math.isnan(value)
        # Spark holds NaN to be above every number
        above = value is not None and (math.isnan(value) or value > limit)
        reasons = ["required(x)"] * missing + ["above"] * (above and critical)
        if reasons:
            expected[k] = ("input", reasons)
        elif value == poison:
            expected[k] = ("predict", [f"ValueError: cannot score {float(poison)}"])
    assert {r["k"]: (r["stage"], r["reasons"]) for r in found.quarantine} == expected
    assert {r["k"]: r["prediction"] for r in found.predictions} == {
        k: k + v for k, v in enumerate(values) if k not in expected
    }
    assert found.measured.read == len(values) == len(found.predictions) + len(found.quarantine)
    assert {r["k"]: repr(r["x"]) for r in found.quarantine} == {k: repr(values[k]) for k in expected}
