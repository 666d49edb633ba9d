"""Where the time goes: for each engine a row of contenders, each of which does one thing more than the one before.

What a thing costs is the difference to the one before, so that the parts add up to the last contender: the whole run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from scripts.bench import inputs
from scripts.bench.cases import HOME, Case
from scripts.bench.contenders import read, scoreline, write
from scripts.bench.measure import Contender

SCHEMA = "id bigint, prediction bigint"
DOES = ("nothing", "assemble", "predict")


def contenders(case: Case, spark: SparkSession) -> dict[str, Contender]:
    """By engine and step, as ``udf/JVM decode``; of an engine in the order in which they add up."""
    more: dict[str, dict[str, Any]] = {
        "screen, account, ledger, page": {"suites_too": False, "unprofiled": True},
        "profile, drift": {"suites_too": False},
        "expectations": {},
    }
    found: dict[str, Contender] = {
        "udf/JVM decode": lambda: _nowhere(read(case, spark)),
        "udf/transfer": lambda: _nowhere(_fed(case, spark, "nothing")),
        "udf/assemble": lambda: _nowhere(_fed(case, spark, "assemble")),
        "udf/predict": lambda: _nowhere(_fed(case, spark, "predict")),
        "udf/encode, write": lambda: write(_fed(case, spark, "predict")),
    }
    for name, options in more.items():
        found[f"udf/{name}"] = functools.partial(scoreline, case, spark, scoring={"engine": "udf"}, **options)
    if case.form != "parquet":
        return found
    found |= {
        "scan/Spark's job": lambda: _nowhere(_handed(case, spark, "skip")),
        "scan/decode": lambda: _nowhere(_handed(case, spark, "nothing")),
        "scan/assemble": lambda: _nowhere(_handed(case, spark, "assemble")),
        "scan/predict": lambda: _nowhere(_handed(case, spark, "predict")),
        "scan/encode, write": lambda: _nowhere(_handed(case, spark, "write")),
    }
    for name, options in more.items():
        found[f"scan/{name}"] = functools.partial(
            scoreline, case, spark, scoring={"engine": "scan"}, **options
        )
    return found


def _nowhere(frame: Any) -> None:
    frame.write.format("noop").mode("overwrite").save()


def _fed(case: Case, spark: SparkSession, does: str) -> Any:
    """Spark reads and hands all columns over."""
    step = _step(case, does)

    def over(batches: Iterable[Any]) -> Iterator[pa.RecordBatch]:
        work = step()
        for batch in batches:
            yield work(batch)

    return read(case, spark).mapInArrow(over, SCHEMA)


def _handed(case: Case, spark: SparkSession, does: str) -> Any:
    """Workers are told a file and row groups and read these for themselves; a task a core, as the engine has."""
    pieces = [
        (str(f), g)
        for f in sorted(case.data.glob("*.parquet"))
        for g in range(pq.read_metadata(f).num_row_groups)
    ]
    count = min(len(pieces), case.cores)
    names, out = ["id", *inputs.names(case.columns)], str((HOME / "stages-out").absolute())
    Path(out).mkdir(exist_ok=True)
    step = _step(case, "predict" if does == "write" else does)

    def over(batches: Iterable[Any]) -> Iterator[pa.RecordBatch]:
        if does == "skip":
            yield from (_pair(pa.array([n]), None) for b in batches for n in b.column(0).to_pylist())
            return
        work = step()
        for number in (n for batch in batches for n in batch.column(0).to_pylist()):
            results = (
                work(batch)
                for path, group in pieces[number::count]
                for batch in pq.ParquetFile(path).iter_batches(
                    50_000, row_groups=[group], columns=names, use_threads=False
                )
            )
            if does == "write":
                pq.write_table(
                    pa.Table.from_batches(results), f"{out}/{number}.parquet", compression="snappy"
                )
            else:
                for _ in results:
                    pass
            yield _pair(pa.array([number]), None)

    return spark.range(0, count, 1, count).mapInArrow(over, SCHEMA)


def _step(case: Case, does: str) -> Callable[[], Callable[[Any], pa.RecordBatch]]:
    """What a worker does with a batch; the outer call is made once a task and loads the model where it is needed."""
    columns = [(n, "long" if k == "bigint" else k) for n, k in _columns(case)]
    path, names = str(inputs.pickled(case).absolute()), inputs.names(case.columns)

    def make() -> Callable[[Any], pa.RecordBatch]:
        import pickle

        from pipelines.records import ModelColumn
        from pipelines.scoring.frames import to_frame

        wanted = [ModelColumn(name, kind, True) for name, kind in columns]
        model = pickle.loads(Path(path).read_bytes()) if does == "predict" else None

        def work(batch: Any) -> pa.RecordBatch:
            if does in ("nothing", "skip"):
                return _pair(batch.column("id"), None)
            frame = to_frame(wanted, [batch.column(n) for n in names])
            return _pair(batch.column("id"), None if model is None else model.predict(frame))

        return work

    return make


def _columns(case: Case) -> list[tuple[str, str]]:
    return list(zip(inputs.names(case.columns), inputs.kinds(case), strict=True))


def _pair(key: Any, predicted: Any) -> pa.RecordBatch:
    values = pa.nulls(len(key), pa.int64()) if predicted is None else pa.array(predicted, pa.int64())
    return pa.RecordBatch.from_arrays([key, values], ["id", "prediction"])
