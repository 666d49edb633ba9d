"""What the machine could do without Spark: one process per core reads with pyarrow, predicts and writes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from scripts.bench import inputs
from scripts.bench.cases import HOME, Case
from scripts.bench.measure import Contender

NAME = "floor: pyarrow + model, one process per core"
_BATCH = 65_536  # rows
_model: Any = None


def processes(case: Case) -> Contender:
    """The contender; its processes stay, so that only the first round pays for their imports."""
    pool: list[ProcessPoolExecutor] = []

    def run() -> None:
        if not pool:
            context = multiprocessing.get_context("spawn")
            path = str(inputs.pickled(case).absolute())
            os.environ["OMP_NUM_THREADS"] = "1"  # as Spark gives to its workers
            pool.append(ProcessPoolExecutor(case.cores, context, _load, (path,)))
        out = HOME / "floor-out"
        out.mkdir(exist_ok=True)
        files = sorted(f for f in case.data.iterdir() if not f.name.startswith("_"))
        names = inputs.names(case.columns)
        list(pool[0].map(_score, files, [names] * len(files), [out / f"{f.name}.parquet" for f in files]))

    return run


def _load(path: str) -> None:
    global _model  # noqa: PLW0603  # of the worker process alone
    pa.set_cpu_count(1)
    _model = pickle.loads(Path(path).read_bytes())


def _score(source: Path, names: Sequence[str], target: Path) -> None:
    schema = pa.schema([("id", pa.int64()), ("prediction", pa.int64())])
    with pq.ParquetWriter(target, schema, compression="snappy") as writer:
        for batch in batches(source):
            frame = batch.select(names).to_pandas()
            predicted = pa.array(_model.predict(frame), pa.int64())
            writer.write_batch(pa.record_batch([batch.column("id"), predicted], schema=schema))


def batches(source: Path) -> Iterator[pa.RecordBatch]:
    """A file's rows, in batches."""
    if source.suffix == ".csv":
        reading = pyarrow.csv.ReadOptions(use_threads=False, block_size=8 << 20)
        yield from pyarrow.csv.open_csv(source, reading)
        return
    with pq.ParquetFile(source) as file:
        yield from file.iter_batches(_BATCH, use_threads=False)
