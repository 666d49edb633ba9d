"""Two rows that are no data, on which a predicate shows its faults before the data have to."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema


def probe_frame(schema: T.StructType, spark: SparkSession) -> DataFrame:
    """Two rows of the given columns that no data source delivered: one of harmless values, one of NULLs.

    The rows are part of the query plan, so that Spark evaluates projections on them without a job.
    """
    nullable = T.StructType([T.StructField(f.name, f.dataType, True) for f in schema.fields])
    sample = {f.name: _sample(f.dataType) for f in nullable.fields}
    table = pa.Table.from_pylist([sample, dict.fromkeys(sample)], schema=to_arrow_schema(nullable))
    return spark.createDataFrame(table, schema=nullable)


def failures(frame: DataFrame, columns: Mapping[str, Column]) -> dict[str, str]:
    """Which of ``columns`` Spark cannot evaluate on ``frame``, with the reason in one line."""
    if not columns or _failure(frame, columns.values()) is None:
        return {}
    return {
        key: reason for key, column in columns.items() if (reason := _failure(frame, [column])) is not None
    }


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _failure(frame: DataFrame, columns: Iterable[Column]) -> str | None:
    try:
        frame.select(*columns).collect()
    except PySparkException as error:
        return first_line(error)
    return None


def _sample(data_type: T.DataType) -> Any:
    if isinstance(data_type, T.StringType):
        return "x"
    if isinstance(data_type, T.NumericType):
        return 0
    if isinstance(data_type, T.DateType):
        return datetime.date(2000, 1, 1)
    return None
