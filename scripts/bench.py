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
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from scripts.study_agreement import QUIET, environment

HOME = Path("build/bench")
RESULTS = Path("docs/benchmarks")
DAY = "2026-01-01"
EVIDENTLY_ROWS = 200_000


@dataclass(frozen=True)
class Case:
    """One model on one input."""

    spark: SparkSession
    data: Path
    form: str
    uri: str
    names: list[str]


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression())


def _forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(100, max_depth=12, random_state=0)


def _boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=100, random_state=0)


MODELS = {"logistic": _logistic, "forest": _forest, "boosting": _boosting}


@click.command()
@click.option("--rows", default=4_000_000, show_default=True)
@click.option("--columns", default=20, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--cores", default=2, show_default=True)
@click.option("--model", "kind", type=click.Choice(sorted(MODELS)), default="logistic", show_default=True)
@click.option("--format", "form", type=click.Choice(["parquet", "csv"]), default="parquet", show_default=True)
@click.option(
    "--stock/--no-stock", default=True, help="Include spark_udf + stock Great Expectations + Evidently."
)
def main(rows: int, columns: int, rounds: int, cores: int, kind: str, form: str, stock: bool) -> None:
    """Measure, print the table, and keep it."""
    from pipelines.session import session

    names = [f"x{i:02d}" for i in range(columns)]
    data = HOME / f"data-{rows}-{columns}{'' if form == 'parquet' else '-csv'}"
    if not data.exists():
        _generate(data, rows, names, form)
    uri = _model(names, kind)
    _suites(names)
    spark = session("scoreline-bench", {"spark.master": f"local[{cores}]", "spark.driver.memory": "3g"})
    case = Case(spark, data, form, uri, names)
    contenders: dict[str, Callable[[], Any]] = {
        "spark_udf": lambda: _spark_udf(case),
        "scoreline, no audit": lambda: _scoreline(case, "auto"),
        "scoreline, drift only": lambda: _scoreline(case, "auto", drift=True),
        "scoreline, audited": lambda: _scoreline(case, "auto", drift=True, suites=True),
        "scoreline, audited, Spark reads and writes": lambda: _scoreline(
            case, "udf", drift=True, suites=True
        ),
    }
    if stock:
        contenders["spark_udf + stock GX + Evidently"] = lambda: _stock(case)
    seconds = _measure(contenders, rounds)
    _report(seconds, case, rows, rounds, cores, kind)


def _measure(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):  # the first round warms the JVM, the workers and the page cache
        for name, run in contenders.items():
            start = time.perf_counter()
            more = run()
            spent = time.perf_counter() - start if more is None else more
            click.echo(f"round {number} {name}: {spent:.2f} s", err=True)
            if number:
                seconds[name].append(spent)
    return seconds


def _generate(path: Path, rows: int, names: list[str], form: str) -> None:
    rng = np.random.default_rng(1)
    path.mkdir(parents=True)
    for part in range(8):
        n = rows // 8
        frame = pd.DataFrame(rng.normal(size=(n, len(names))), columns=names)
        frame.insert(0, "id", np.arange(part * n, (part + 1) * n))
        if form == "csv":
            frame.to_csv(path / f"part-{part}.csv", index=False)
        else:
            frame.to_parquet(path / f"part-{part}.parquet", index=False)


def _model(names: list[str], kind: str) -> str:
    """A classifier with signature and baseline, saved once; its folder serves as model URI."""
    import mlflow.sklearn
    from mlflow.models import infer_signature

    from pipelines.profiles import baseline_from_pandas
    from pipelines.registry import log_baseline

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(20_000, len(names))), columns=names)
    frame.to_parquet(HOME / "reference.parquet")
    labels = (frame.sum(axis=1) + rng.normal(size=len(frame)) > 0).astype("int64")
    model = MODELS[kind]().fit(frame, labels)
    folder = HOME / f"model-{kind}-{len(names)}"
    shutil.rmtree(folder, ignore_errors=True)
    predicted = model.predict(frame)
    mlflow.sklearn.save_model(
        model, folder, signature=infer_signature(frame, predicted), serialization_format="cloudpickle"
    )
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


def _scoreline(case: Case, engine: str, *, drift: bool = False, suites: bool = False) -> None:
    from pipelines.batch import run_batch
    from pipelines.config import Config

    out = HOME / "out"
    shutil.rmtree(out, ignore_errors=True)
    quality = {"input": str(HOME / "input.json"), "output": str(HOME / "output.json")} if suites else {}
    types = {"types": {"id": "bigint"}} if case.form == "csv" else {}
    config = Config.model_validate(
        {
            "name": "bench",
            "run_date": date.fromisoformat(DAY),
            "model": {"uri": case.uri, "allow_pickle": True},
            "source": {"format": case.form, "path": str(case.data), "key": ["id"], **types},
            "quality": quality,
            "drift": {"baseline": "model" if drift else "none"},
            "scoring": {"engine": engine},
            "sink": {"path": str(out)},
            "tracking_uri": f"sqlite:///{HOME}/mlflow.db",
        }
    )
    record = run_batch(config, spark=case.spark)
    if record.status != "published":
        raise click.ClickException(str(record))
    click.echo(f"  {record.spark['engine']} {json.dumps(record.seconds)}", err=True)


def _read(case: Case) -> Any:
    path = f"file://{case.data.absolute()}"
    if case.form == "parquet":
        return case.spark.read.parquet(path)
    schema = "id bigint, " + ", ".join(f"{n} double" for n in case.names)
    return case.spark.read.schema(schema).csv(path, header=True)


def _spark_udf(case: Case) -> None:
    import mlflow.pyfunc

    udf = mlflow.pyfunc.spark_udf(case.spark, case.uri, result_type="long")
    scored = _read(case).select("id", udf(F.struct(*case.names)).alias("prediction"))
    scored.write.mode("overwrite").parquet(f"file://{(HOME / 'udf-out').absolute()}")


def _stock(case: Case) -> float:
    """What a team would glue together: spark_udf, then GX's own engine on inputs and on outputs, then Evidently's
    drift preset on the part of the input that it takes in reasonable time. Seconds, without imports."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    start = time.perf_counter()
    _spark_udf(case)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    predictions = case.spark.read.parquet(f"file://{(HOME / 'udf-out').absolute()}")
    for kind, frame in (("input", _read(case)), ("output", predictions)):
        body = json.loads((HOME / f"{kind}.json").read_text("utf-8"))
        suite = gx.ExpectationSuite(**body)
        asset = context.data_sources.add_or_update_spark(name=kind).add_dataframe_asset(name=kind)
        batch = asset.add_batch_definition_whole_dataframe(kind).get_batch({"dataframe": frame})
        if not batch.validate(suite, result_format="BOOLEAN_ONLY").success:
            raise click.ClickException(f"the {kind} suite fails on the benchmark's data")
    return time.perf_counter() - start + _evidently(case)


def _evidently(case: Case) -> float:
    window = HOME / "window.parquet"
    if not window.exists():
        _read(case).limit(EVIDENTLY_ROWS).toPandas().to_parquet(window)
    python = environment("evidently") / "bin" / "python"
    script = "scripts/agreement/time_evidently.py"
    asked = [str(python), script, str(HOME / "reference.parquet"), str(window), *case.names]
    done = subprocess.run(asked, check=True, stdout=subprocess.PIPE, env=os.environ | QUIET)
    return float(json.loads(done.stdout)["seconds"])


def _report(
    seconds: dict[str, list[float]], case: Case, rows: int, rounds: int, cores: int, kind: str
) -> None:
    base, plain = seconds["spark_udf"], seconds["scoreline, no audit"]
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, local[{cores}]"
    )
    columns = len(case.names)
    lines = [
        f"# {rows:,} rows x {columns} doubles, {case.form}, {kind}",
        "",
        f"Medians of {rounds} interleaved rounds after one that warms up; ratios are medians within rounds. {machine}.",
        "A run is all of it: registry, planning, scoring, audit, metric tables, page, MLflow run. Audited: 42",
        f"expectations on inputs, 6 on outputs, drift of every column. Evidently sees {EVIDENTLY_ROWS:,} rows only.",
        "",
        "| what | seconds | rows/s | time / spark_udf's | time / without audit |",
        "|---|---|---|---|---|",
    ]
    for name, values in seconds.items():
        ratios = [
            statistics.median(a / b for a, b in zip(values, other, strict=True)) for other in (base, plain)
        ]
        median = statistics.median(values)
        lines.append(f"| {name} | {median:.2f} | {rows / median:,.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    RESULTS.mkdir(parents=True, exist_ok=True)
    stem = RESULTS / f"warm-{kind}-{case.form}-{rows}x{columns}"
    stem.with_suffix(".md").write_text("\n".join(lines) + "\n", "utf-8")
    body = {"machine": machine, "rows": rows, "columns": columns, "model": kind, "format": case.form}
    stem.with_suffix(".json").write_text(json.dumps({**body, "seconds": seconds}, indent=1) + "\n", "utf-8")
    click.echo("\n".join(lines))


if __name__ == "__main__":
    main()
