"""Who runs in the warm rounds: the audited run, what a team would write instead, and what the machine could do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from scripts.bench import floors, inputs, outside
from scripts.bench.cases import DAY, HOME, Case
from scripts.bench.measure import Contender


def warm(case: Case, spark: SparkSession, *, peers: bool = True) -> dict[str, Contender]:
    """All contenders of a warm case; ``peers``: those that need environments of their own, too."""
    found: dict[str, Contender] = {
        "spark_udf": lambda: spark_udf(case, spark),
        "predict_batch_udf": lambda: predict_batch_udf(case, spark),
        "mapInPandas by hand": lambda: map_in_pandas(case, spark),
        "scoreline, scoring alone": lambda: scoreline(case, spark, suites_too=False, unprofiled=True),
        "scoreline, no audit": lambda: scoreline(case, spark, suites_too=False, baseline="none"),
        "scoreline, drift only": lambda: scoreline(case, spark, suites_too=False),
        "scoreline, audited": lambda: scoreline(case, spark),
    }
    if case.form == "parquet":
        found["scoreline, audited, Spark reads and writes"] = lambda: scoreline(
            case, spark, scoring={"engine": "udf"}
        )
    found[floors.NAME] = floors.processes(case)
    found["floor: Spark reads and writes, no Python"] = lambda: spark_alone(case, spark)
    if peers:
        found |= outside.contenders(case, lambda: read(case, spark), lambda: stock(case, spark))
    return found


def beside_the_floor(case: Case, spark: SparkSession) -> dict[str, Contender]:
    """The stage in which rows are scored, with and without all that is measured of them, and the machine's floor."""
    return {
        "scoreline, scoring alone": lambda: scoreline(case, spark, suites_too=False, unprofiled=True),
        "scoreline, audited": lambda: scoreline(case, spark),
        floors.NAME: floors.processes(case),
    }


def drift_overhead(case: Case, spark: SparkSession) -> dict[str, Contender]:
    """The audited run, and the same run in which workers profile no column: no setting leaves that out, so that
    the bench takes the list of columns to profile away."""
    return {
        "audited, nothing profiled": lambda: scoreline(case, spark, unprofiled=True),
        "audited, with drift of every column": lambda: scoreline(case, spark),
    }


def scoreline(
    case: Case,
    spark: SparkSession | None,
    *,
    suites_too: bool = True,
    baseline: str = "model",
    unprofiled: bool = False,
    **more: Any,
) -> dict[str, float]:
    """A whole run; its stages, and the largest memory of a worker.

    Raises:
        RuntimeError: it was not published.
    """
    from pipelines.batch import run_batch
    from pipelines.config import Config

    shutil.rmtree(HOME / "out", ignore_errors=True)
    asked = inputs.configuration(case, suites_too=suites_too, baseline=baseline, **more)
    config = Config.model_validate(asked | {"run_date": date.fromisoformat(DAY)})
    without: Any = mock.patch("pipelines.references.specs", return_value=()) if unprofiled else nullcontext()
    with without:
        record = run_batch(config, spark=spark)
    if record.status != "published":
        raise RuntimeError(str(record))
    return {f"stage.{k}": v for k, v in record.seconds.items()} | {
        "peak_worker_rss_mb": float(record.peak_worker_rss_mb or 0)
    }


def read(case: Case, spark: SparkSession) -> DataFrame:
    """The input as Spark reads it."""
    path = f"file://{case.data.absolute()}"
    if case.form == "parquet":
        return spark.read.parquet(path)
    return spark.read.schema(inputs.spark_schema(case)).csv(path, header=True)


def write(frame: DataFrame) -> None:
    """Where all peers write to."""
    frame.write.mode("overwrite").parquet(f"file://{(HOME / 'peer-out').absolute()}")


def spark_alone(case: Case, spark: SparkSession) -> None:
    """Every column is read; key and a sum of the numbers are written."""
    columns = zip(inputs.names(case.columns), inputs.kinds(case), strict=True)
    values = [F.length(n) if k == "string" else F.col(n) for n, k in columns]
    total = values[0]
    for value in values[1:]:
        total = total + value
    write(read(case, spark).select("id", (total > 0).cast("long").alias("prediction")))


def spark_udf(case: Case, spark: SparkSession) -> None:
    """``mlflow.pyfunc.spark_udf`` as its documentation shows it."""
    import mlflow

    mlflow.set_tracking_uri(inputs.REGISTRY)
    udf = mlflow.pyfunc.spark_udf(spark, case.uri, result_type="long")
    write(read(case, spark).select("id", udf(F.struct(*inputs.names(case.columns))).alias("prediction")))


def predict_batch_udf(case: Case, spark: SparkSession) -> None:
    """Spark's own: one tensor of doubles, or an array for each column where their types differ."""
    from pyspark.ml.functions import predict_batch_udf as batch_udf
    from pyspark.sql.types import LongType

    path, names = str(inputs.pickled(case).absolute()), inputs.names(case.columns)
    mixed = case.mixed

    def make() -> Any:
        import inspect
        import pickle

        import pandas as pd

        model = pickle.loads(Path(path).read_bytes())

        def of_columns(*columns: Any) -> Any:
            return model.predict(pd.DataFrame(dict(zip(names, columns, strict=True))))

        def of_tensor(tensor: Any) -> Any:
            return model.predict(pd.DataFrame(tensor, columns=names))

        if not mixed:
            return of_tensor
        of_columns.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # Spark counts parameters
            [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names]
        )
        return of_columns

    shapes: Any = None if mixed else [[len(names)]]
    udf: Any = batch_udf(make, return_type=LongType(), batch_size=10_000, input_tensor_shapes=shapes)
    asked = names if mixed else [F.array(*names)]
    write(read(case, spark).select("id", udf(*asked).alias("prediction")))


def map_in_pandas(case: Case, spark: SparkSession) -> None:
    """What a team writes that knows Spark well: the model loaded once a task, DataFrames in and out."""
    path, names = str(inputs.pickled(case).absolute()), inputs.names(case.columns)

    def score(frames: Iterable[Any]) -> Iterator[Any]:
        import pickle

        model = pickle.loads(Path(path).read_bytes())
        for frame in frames:
            yield frame[["id"]].assign(prediction=model.predict(frame[names]))

    write(read(case, spark).mapInPandas(score, "id bigint, prediction bigint"))


def stock(case: Case, spark: SparkSession) -> None:
    """spark_udf, then Great Expectations' own engine on inputs and on outputs.

    Raises:
        RuntimeError: a suite fails on the bench's data.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    spark_udf(case, spark)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    predictions = spark.read.parquet(f"file://{(HOME / 'peer-out').absolute()}")
    frames: Mapping[str, DataFrame] = {"input": read(case, spark), "output": predictions}
    for kind, path in inputs.suites(case).items():
        suite = gx.ExpectationSuite(**json.loads(Path(path).read_text("utf-8")))
        asset = context.data_sources.add_or_update_spark(name=kind).add_dataframe_asset(name=kind)
        batch = asset.add_batch_definition_whole_dataframe(kind).get_batch({"dataframe": frames[kind]})
        if not batch.validate(suite, result_format="BOOLEAN_ONLY").success:
            raise RuntimeError(f"the {kind} suite fails on the bench's data")
