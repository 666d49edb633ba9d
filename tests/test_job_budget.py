"""How many Spark jobs a run takes: one, the pass over the data; where Spark has written quarantined rows (engine udf)
one more unpacks them.

The number does not grow with rules, columns or rows.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from pipelines import run_batch
from pipelines.config import Config
from tests.batch_factory import suite

CLEAN, QUARANTINED = 1, 2


def lay_out(home: Path, columns: int, rows: int, broken: int) -> list[str]:
    """A model of ``columns`` inputs with its baseline, and a day of ``rows`` rows, ``broken`` of them."""
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from sklearn.linear_model import LogisticRegression

    from pipelines.profiles import baseline_from_pandas
    from pipelines.registry import log_baseline

    names = [f"x{i}" for i in range(columns)]
    rng = np.random.default_rng(columns)
    train = pd.DataFrame(rng.normal(size=(300, columns)), columns=names)
    model = LogisticRegression().fit(train, train["x0"] > 0)
    labels = model.predict(train)
    mlflow.sklearn.save_model(model, str(home / "model"), signature=infer_signature(train, labels))
    log_baseline(home / "model", baseline_from_pandas(train, labels))

    day = pd.DataFrame(rng.normal(size=(rows, columns)), columns=names)
    day.loc[: broken - 1, "x0"] = 99.0
    (home / "in").mkdir()
    for part, start in enumerate(range(0, rows, 200_000)):
        day.iloc[start : start + 200_000].to_parquet(home / "in" / f"{part}.parquet", index=False)
    return names


def jobs_of_a_run(
    spark: SparkSession,
    home: Path,
    *,
    rules: int = 5,
    columns: int = 5,
    rows: int = 1000,
    broken: int = 0,
    engine: str = "udf",
    slices: tuple[str, ...] = (),
) -> int:
    names = lay_out(home, columns, rows, broken)
    kind = "expect_column_values_to_be_between"
    expectations = [
        {"type": kind, "kwargs": {"column": names[i % columns], "max_value": 50 + i}, "severity": "critical"}
        for i in range(rules)
    ]
    output = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "prediction"}}
    quality = {"input": suite(home, "in", *expectations), "output": suite(home, "out", output)}
    config = Config.model_validate(
        {
            "name": home.name.replace("_", "-").lower(),
            "run_date": date(2026, 11, 22),
            "model": {"uri": str(home / "model")},
            "source": {"format": "parquet", "path": str(home / "in")},
            "quality": quality | {"max_quarantined": 0.5},
            "sink": {"path": str(home / "sink")},
            "tracking_uri": f"sqlite:///{home}/mlflow.db",
            "scoring": {"engine": engine},
            "drift": {"slices": slices},
        }
    )
    record = run_batch(config, spark)
    assert record.rows == {"read": rows, "scored": rows - broken, "quarantined": broken}
    assert record.checks["input"]["evaluated"] == rules
    return len(spark.sparkContext.statusTracker().getJobIdsForGroup(f"scoreline:{config.name}"))


CASES = {
    "few rules": {"rules": 5},
    "many rules": {"rules": 200},
    "many columns": {"columns": 300},
    "many rows": {"rows": 100_000},
    "slices": {"slices": ("x1 > 0", "x2 > 0")},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ["udf", "scan"])
def test_a_clean_run_is_one_job(spark, tmp_path, case, engine):
    assert jobs_of_a_run(spark, tmp_path, engine=engine, **CASES[case]) == CLEAN


def test_workers_that_read_for_themselves_write_the_quarantine_too(spark, tmp_path):
    assert jobs_of_a_run(spark, tmp_path, broken=3, engine="scan") == CLEAN


@pytest.mark.parametrize("case", ["few rules", "many rules"])
def test_quarantined_rows_take_one_more(spark, tmp_path, case):
    assert jobs_of_a_run(spark, tmp_path, broken=3, **CASES[case]) == QUARANTINED


@pytest.mark.scale
def test_a_million_rows_take_no_more(spark, tmp_path):
    assert jobs_of_a_run(spark, tmp_path, rows=1_000_000) == CLEAN
