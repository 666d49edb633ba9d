"""What units have counted is the same, whoever adds it up and in however many groups."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from pipelines import run_batch
from pipelines.config import Config
from pipelines.records import RunRecord
from pipelines.scoring import sums, units
from tests.batch_factory import DAY, content, save_model, settings, suite


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "m")


def lay(home: Path, form: str) -> None:
    """Three files of several units each, with rows that rules refuse and, in CSV, lines that only Spark reads."""
    folder = home / "in" / DAY
    folder.mkdir(parents=True)
    for number in range(3):
        values = np.random.default_rng(number).normal(size=(100, 2))
        rows = pd.DataFrame(values, columns=["a", "b"])
        rows.insert(0, "id", np.arange(100) + 100 * number)
        rows.loc[number, "a"] = None
        if form == "csv":
            rows.to_csv(folder / f"{number}.csv", index=False)
        else:
            rows.to_parquet(folder / f"{number}.parquet", index=False, row_group_size=40)
    if form == "csv":
        with (folder / "2.csv").open("a") as file:
            file.write('"998",1.5,2.5\n999,x,2.5\n')


def configured(home: Path, form: str, model: Path) -> dict[str, Any]:
    rules = suite(
        home,
        "in",
        {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "b", "min_value": -9}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "b", "max_value": 2}},
    )
    types = {"types": {"id": "bigint", "a": "double", "b": "double"}} if form == "csv" else {}
    source = {"format": form, "path": f"{home}/in/{DAY}", "key": ["id"], **types}
    quality = {"input": rules, "max_quarantined": 0.5}
    tree = settings(home, model, quality=quality, scoring={"engine": "scan"}, source=source)
    return {**tree, "run_date": DAY}


def run(spark: SparkSession, home: Path, model: Path, form: str) -> RunRecord:
    lay(home, form)
    return run_batch(Config.model_validate(configured(home, form, model)), spark)


def told(record: RunRecord) -> dict[str, Any]:
    same = (
        "engine",
        "num_inferences",
        "inference_calls",
        "batches",
        "inference_request_batch_size",
        "compiled",
    )
    return {
        "rows": record.rows,
        "by": record.quarantined_by,
        "checks": record.checks,
        "drift": record.drift["status"],
        "spark": {k: record.spark[k] for k in same},
    }


def profile(home: Path) -> list[dict[str, Any]]:
    found = pq.read_table(home / "out" / "toy" / "profile_metrics").drop_columns(["run_id"])
    return sorted(found.to_pylist(), key=lambda row: str(row["column_name"]))


def alike(a: Any, b: Any) -> bool:
    """Equal but for the last bits of sums."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-12) or a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    return bool(a == b)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_groups_added_up_by_workers_count_what_one_group_does(
    spark: SparkSession, tmp_path: Path, model: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "_SMALLEST", 500)
    one = run(spark, tmp_path / "one", model, form)
    monkeypatch.setattr(sums, "GROUP", 2)
    several = run(spark, tmp_path / "several", model, form)
    assert several.spark["engine"] == "scan"
    assert told(several) == told(one)
    assert one.rows["read"] == 300 + 2 * (form == "csv")
    assert alike(profile(tmp_path / "several"), profile(tmp_path / "one"))


def test_a_run_whose_units_workers_add_up_publishes_the_same_bytes_again(
    spark: SparkSession, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "_SMALLEST", 500)
    monkeypatch.setattr(sums, "GROUP", 2)
    run(spark, tmp_path, model, "parquet")
    before = content(tmp_path / "out" / "toy")
    again = Config.model_validate(configured(tmp_path, "parquet", model))
    assert run_batch(again, spark, force=True).status == "published"
    assert content(tmp_path / "out" / "toy") == before
