"""A few large values as rows, one for each task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession


@contextmanager
def one_each(spark: SparkSession, values: Sequence[bytes]) -> Iterator[DataFrame]:
    """A frame of ``number`` and ``units`` with a partition for each row, to be used within the block.

    Each task is sent its own row alone; what a function closes over is sent, and unpacked, with every task.
    """
    from pipelines.session import settings

    wanted = {
        "spark.sql.execution.arrow.maxRecordsPerBatch": "1",  # a partition each, where rows are many or large,
        "spark.sql.leafNodeDefaultParallelism": str(len(values)),  # and where they are few
    }
    table = pa.table({"number": range(len(values)), "units": pa.array(values, pa.binary())})
    with settings(spark, wanted):
        yield spark.createDataFrame(table)
