"""Whole runs in the corners where two features meet."""

from __future__ import annotations

import datetime as dt
import logging
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import run_batch
from pipelines.config import Config
from tests.batch_factory import day_of, save_model, settings, suite


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "toy-model")


def configured(home: Path, model: Path, **source: object) -> Config:
    tree = settings(home, model)
    tree["source"] = {"format": "parquet", "path": f"{home}/in", "key": ["id"]} | source
    return Config.model_validate(
        {**tree, "run_date": date(2026, 11, 22), "quality": {"max_quarantined": 0.5}}
    )


def table(home: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(home / "out" / "toy" / name)


def test_a_malformed_record_breaks_only_reading_rules_and_no_aggregate_sees_it(spark, tmp_path, model):
    lines = ["id,a,b", *(f"{i},1.0,2.0" for i in range(50)), "103,1e999,2.0", "104,oops,2.0"]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "day.csv").write_text("\n".join(lines) + "\n")
    expectations = suite(
        tmp_path,
        "in",
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a"}, "severity": "critical"},
        {
            "type": "expect_column_mean_to_be_between",
            "kwargs": {"column": "a", "min_value": 1, "max_value": 1},
        },
        {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 50}},
    )
    config = configured(tmp_path, model, format="csv", types={"id": "bigint"})
    config = config.model_copy(update={"quality": config.quality.model_copy(update={"input": expectations})})
    record = run_batch(config, spark)
    assert record.rows == {"read": 52, "scored": 50, "quarantined": 2}
    assert record.checks["input"]["failed"] == []
    found = table(tmp_path, "quarantine").set_index("id")
    assert {k: (r.stage, list(r.reasons)) for k, r in found.iterrows()} == {
        103: ("read", ["not_finite(a)"]),
        104: ("read", ["malformed_record"]),
    }
    assert found.loc[103, "b"] == 2.0, "what parsed is kept"


def test_the_sessions_own_settings_do_not_shift_old_dates(spark, tmp_path, model):
    frame = day_of(5).assign(born=dt.date(1500, 1, 1))
    (tmp_path / "in").mkdir()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "in" / "day.parquet")
    mode = "spark.sql.parquet.datetimeRebaseModeInWrite"
    spark.conf.set(mode, "LEGACY")
    try:
        run_batch(configured(tmp_path, model, carry=["born"]), spark)
        assert spark.conf.get(mode) == "LEGACY"
    finally:
        spark.conf.unset(mode)
    assert set(table(tmp_path, "predictions")["born"]) == {dt.date(1500, 1, 1)}


def test_two_inputs_that_share_a_source_column_are_both_in_a_baseline_from_data(spark, tmp_path, model):
    (tmp_path / "in").mkdir()
    day_of(3000).to_parquet(tmp_path / "in" / "day.parquet", index=False)
    config = configured(tmp_path, model, columns={"b": "a"})
    drift = config.drift.model_copy(update={"baseline": str(tmp_path / "in")})
    record = run_batch(config.model_copy(update={"drift": drift}), spark)
    assert record.drift["judged"] == 2


def test_a_date_published_by_another_configuration_says_so(spark, tmp_path, model, caplog):
    (tmp_path / "in").mkdir()
    day_of(20).to_parquet(tmp_path / "in" / "day.parquet", index=False)
    config = configured(tmp_path, model)
    assert run_batch(config, spark).warnings == ()
    assert run_batch(config, spark).warnings == ()
    changed = config.model_copy(
        update={"quality": config.quality.model_copy(update={"max_quarantined": 0.4})}
    )
    with caplog.at_level(logging.WARNING):
        record = run_batch(changed, spark)
    assert record.status == "already_published"
    assert "another configuration" in " ".join(record.warnings)
