"""A cold run is start-up above all: who starts what, and what a worker never has to import."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from pipelines import scoring
from pipelines.launch import seconds_since_launch
from pipelines.starting import Starting, warm_workers

ROOT = Path(__file__).resolve().parent.parent


def test_a_session_that_is_there_is_the_one(spark: SparkSession) -> None:
    starting = Starting("another")
    starting.warm(("antigravity",))
    assert starting.session() is spark


def test_workers_have_imported_what_they_were_told_to_and_what_is_missing_is_left_out(
    spark: SparkSession,
) -> None:
    warm_workers(spark, ("no_such_module", "this"))
    cores = spark.sparkContext.defaultParallelism

    def look(batches: Any) -> Any:
        for batch in batches:
            yield batch if "this" in sys.modules else batch.slice(0, 0)

    assert spark.range(0, cores, 1, cores).mapInArrow(look, "id bigint").count() > 0


def test_a_new_session_is_active_in_the_thread_that_asked_for_it() -> None:
    code = """
        from pyspark.sql import SparkSession
        from pipelines import scoring
        from pipelines.starting import Starting
        starting = Starting("new")
        starting.warm((*scoring.OWN, *scoring.libraries("sklearn")))
        assert SparkSession.getActiveSession() is None
        spark = starting.session()
        assert SparkSession.getActiveSession() is spark, SparkSession.getActiveSession()
        assert spark.range(3).count() == 3
        print("well")
    """
    assert told(code) == "well"


def told(code: str) -> str:
    """The last word of a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


@pytest.mark.parametrize("flavor", ["sklearn", "xgboost", "lightgbm", "onnx"])
def test_a_worker_imports_neither_mlflow_nor_great_expectations(flavor: str) -> None:
    names = (*scoring.OWN, "pipelines.scoring.loaders", *scoring.libraries(flavor))
    code = f"""
        import importlib, sys
        for name in {names!r}:
            importlib.import_module(name)
        print(*[m for m in ("mlflow", "great_expectations", "matplotlib") if m in sys.modules], "well")
    """
    assert told(code) == "well"


def test_a_process_knows_since_when_it_runs(tmp_path: Path) -> None:
    code = """
        import time
        from pipelines.launch import seconds_since_launch
        first = seconds_since_launch({})
        time.sleep(0.1)
        print("well" if first is None or 0 <= first <= seconds_since_launch({}) - 0.1 + 0.02 else first)
    """
    assert told(code) == "well"


def test_below_spark_submit_the_time_is_the_launchers() -> None:
    own, launchers = (
        seconds_since_launch({}),
        seconds_since_launch(dict(os.environ) | {"PYSPARK_GATEWAY_PORT": "1"}),
    )
    assert own is None or launchers is None or launchers >= own
