"""``make bench``: the audited run beside its peers, on the same data, in one session, interleaved.

Each round runs every contender once, in turn; figures are medians over the rounds, ratios are medians of the
ratios within a round, so that a machine whose speed drifts does not favour one. The table and the raw seconds go
to docs/benchmarks/.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

HOME = Path("build/bench")
RESULTS = Path("docs/benchmarks")
DAY = "2026-01-01"


@click.command()
@click.option("--rows", default=4_000_000, show_default=True)
@click.option("--columns", default=20, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--cores", default=2, show_default=True)
@click.option(
    "--stock/--no-stock", default=True, help="Include spark_udf followed by stock Great Expectations."
)
def main(rows: int, columns: int, rounds: int, cores: int, stock: bool) -> None:
    """Measure, print the table, and keep it."""
    from pipelines.session import session

    names = [f"x{i:02d}" for i in range(columns)]
    data = HOME / f"data-{rows}-{columns}"
    if not data.exists():
        _generate(data, rows, names)
    uri = _model(names)
    _suites(names)
    spark = session("scoreline-bench", {"spark.master": f"local[{cores}]", "spark.driver.memory": "3g"})
    contenders: dict[str, Callable[[], Any]] = {
        "spark_udf": lambda: _spark_udf(spark, data, uri, names),
        "scoreline, no audit": lambda: _scoreline(spark, data, uri, audit=False),
        "scoreline, audited": lambda: _scoreline(spark, data, uri, audit=True),
    }
    if stock:
        contenders["spark_udf + stock GX"] = lambda: _stock(spark, data, uri, names)
    seconds = _measure(contenders, rounds)
    _report(seconds, rows, columns, rounds, cores)


def _measure(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):  # the first round warms the JVM, the workers and the page cache
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            spent = time.perf_counter() - start
            click.echo(f"round {number} {name}: {spent:.2f} s", err=True)
            if number:
                seconds[name].append(spent)
    return seconds


def _generate(path: Path, rows: int, names: list[str]) -> None:
    rng = np.random.default_rng(1)
    path.mkdir(parents=True)
    for part in range(8):
        n = rows // 8
        frame = pd.DataFrame(rng.normal(size=(n, len(names))), columns=names)
        frame.insert(0, "id", np.arange(part * n, (part + 1) * n))
        frame.to_parquet(path / f"part-{part}.parquet", index=False)


def _model(names: list[str]) -> str:
    """A logistic regression with signature and baseline, saved once; its folder serves as model URI."""
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from pipelines.profiles import baseline_from_pandas
    from pipelines.registry import log_baseline

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(20_000, len(names))), columns=names)
    labels = (frame.sum(axis=1) + rng.normal(size=len(frame)) > 0).astype("int64")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, labels)
    folder = HOME / f"model-{len(names)}"
    shutil.rmtree(folder, ignore_errors=True)
    predicted = model.predict(frame)
    mlflow.sklearn.save_model(model, folder, signature=infer_signature(frame, predicted))
    log_baseline(folder, baseline_from_pandas(frame, predicted))
    return str(folder)


def _suites(names: list[str]) -> None:
    """42 expectations on inputs, 6 on outputs; all but two of them on rows."""
    inputs: list[dict[str, Any]] = []
    for name in names[:20]:
        inputs.append(_expect("expect_column_values_to_not_be_null", column=name))
        inputs.append(_expect("expect_column_values_to_be_between", column=name, min_value=-8, max_value=8))
    inputs.append(_expect("expect_column_mean_to_be_between", column=names[0], min_value=-1, max_value=1))
    inputs.append(_expect("expect_table_row_count_to_be_between", min_value=1))
    outputs = [
        _expect("expect_column_values_to_not_be_null", column="prediction"),
        _expect("expect_column_values_to_be_in_set", column="prediction", value_set=[0, 1]),
        _expect("expect_column_values_to_not_be_null", column="id"),
        _expect("expect_column_values_to_be_between", column="id", min_value=0),
        _expect("expect_column_mean_to_be_between", column="prediction", min_value=0.1, max_value=0.9),
        _expect("expect_column_max_to_be_between", column="prediction", min_value=1, max_value=1),
    ]
    for kind, expectations in (("input", inputs), ("output", outputs)):
        body = {"name": f"bench.{kind}", "expectations": expectations}
        (HOME / f"{kind}.json").write_text(json.dumps(body), "utf-8")


def _expect(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "severity": "critical" if "values" in kind else "warning"}


def _scoreline(spark: SparkSession, data: Path, uri: str, audit: bool) -> None:
    from pipelines.batch import run_batch
    from pipelines.config import Config

    out = HOME / "out"
    shutil.rmtree(out, ignore_errors=True)
    quality = {"input": str(HOME / "input.json"), "output": str(HOME / "output.json")} if audit else {}
    config = Config.model_validate(
        {
            "name": "bench",
            "run_date": date.fromisoformat(DAY),
            "model": {"uri": uri},
            "source": {"format": "parquet", "path": str(data), "key": ["id"]},
            "quality": quality,
            "drift": {"baseline": "model" if audit else "none"},
            "sink": {"path": str(out)},
            "tracking_uri": f"sqlite:///{HOME}/mlflow.db",
        }
    )
    record = run_batch(config, spark=spark)
    if record.status != "published":
        raise click.ClickException(str(record))
    click.echo(f"  {json.dumps(record.seconds)}", err=True)


def _spark_udf(spark: SparkSession, data: Path, uri: str, names: list[str]) -> Path:
    import mlflow.pyfunc

    out = HOME / "udf-out"
    udf = mlflow.pyfunc.spark_udf(spark, uri, result_type="long")
    frame = spark.read.parquet(f"file://{data.absolute()}")
    scored = frame.select("id", udf(F.struct(*names)).alias("prediction"))
    scored.write.mode("overwrite").parquet(f"file://{out.absolute()}")
    return out


def _stock(spark: SparkSession, data: Path, uri: str, names: list[str]) -> None:
    """What a team would glue together: spark_udf, then GX's own engine on inputs and on outputs."""
    out = _spark_udf(spark, data, uri, names)
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for kind, path in (("input", data), ("output", out)):
        body = json.loads((HOME / f"{kind}.json").read_text("utf-8"))
        suite = gx.ExpectationSuite(**body)
        asset = context.data_sources.add_or_update_spark(name=kind).add_dataframe_asset(name=kind)
        batch = asset.add_batch_definition_whole_dataframe(kind).get_batch(
            {"dataframe": spark.read.parquet(f"file://{path.absolute()}")}
        )
        if not batch.validate(suite, result_format="BOOLEAN_ONLY").success:
            raise click.ClickException(f"the {kind} suite fails on the benchmark's data")


def _report(seconds: dict[str, list[float]], rows: int, columns: int, rounds: int, cores: int) -> None:
    base = seconds["spark_udf"]
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, local[{cores}]"
    )
    lines = [
        f"# {rows:,} rows x {columns} doubles, Parquet, logistic regression",
        "",
        f"Medians of {rounds} interleaved rounds after one that warms up; ratios are medians within rounds. {machine}.",
        "",
        "| what | seconds | rows/s | time / spark_udf's | time / without audit |",
        "|---|---|---|---|---|",
    ]
    plain = seconds["scoreline, no audit"]
    for name, values in seconds.items():
        ratios = [
            statistics.median(a / b for a, b in zip(values, other, strict=True)) for other in (base, plain)
        ]
        median = statistics.median(values)
        lines.append(f"| {name} | {median:.2f} | {rows / median:,.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    RESULTS.mkdir(parents=True, exist_ok=True)
    stem = RESULTS / f"warm-{rows}x{columns}"
    stem.with_suffix(".md").write_text("\n".join(lines) + "\n", "utf-8")
    body = {"machine": machine, "rows": rows, "columns": columns, "seconds": seconds}
    stem.with_suffix(".json").write_text(json.dumps(body, indent=1) + "\n", "utf-8")
    click.echo("\n".join(lines))


if __name__ == "__main__":
    main()
