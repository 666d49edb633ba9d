"""What a session is asked for that classic Spark and Spark Connect answer in different ways, or not at all."""

from __future__ import annotations

import atexit
import os
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from pyspark import StorageLevel
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.errors import SparkUnavailable


def await_server(spark: Any, seconds: float = 30.0) -> None:
    """Wait for the server of a new Connect session; its client would try for ten minutes before it says a word.

    Raises:
        SparkUnavailable: it has not answered.
    """
    import grpc

    try:
        grpc.channel_ready_future(spark.client._channel).result(timeout=seconds)
    except grpc.FutureTimeoutError as error:
        spark.client.close()  # it would try again when the process ends
        place = urlsplit(os.environ.get("SPARK_REMOTE", "")).netloc  # what follows it may be a token
        raise SparkUnavailable(
            f"Spark: no Connect server answers at {place or 'the address of the session'}.",
            hint="Start it, or correct SPARK_REMOTE, then run again; another program may have the port.",
        ) from error


def part_quietly(spark: Any) -> None:
    """When a process ends, a Connect client asks its server to forget the models of Spark ML, of which it has none, and
    goes on asking for ten minutes where the server is gone."""
    with suppress(AttributeError):  # of another version
        atexit.unregister(spark.client._cleanup_ml_cache)


def is_remote(spark: Any) -> bool:
    """Whether a Spark Connect server does the work: no JVM is at hand, no SparkContext and no broadcast."""
    # platforms that know Connect only export its class as pyspark.sql.SparkSession
    return any(c.__module__.startswith("pyspark.sql.connect") for c in type(spark).__mro__)


def task_seconds(spark: SparkSession) -> float | None:
    """Seconds that tasks have occupied cores since the application began, over all executors; None where a Connect
    server does the work and does not tell."""
    if is_remote(spark):
        return None
    executors = spark.sparkContext._jsc.sc().statusStore().executorList(False)
    return float(sum(executors.apply(i).totalDuration() for i in range(executors.size()))) / 1000


def parallelism(spark: SparkSession) -> int:
    """How many tasks Spark wants to run at the same time."""
    if not is_remote(spark):
        return spark.sparkContext.defaultParallelism
    # a range is cut into as many partitions
    numbered = spark.range(1 << 20).select(F.spark_partition_id().alias("number"))
    last = numbered.agg(F.max("number")).collect()[0][0]
    return int(last) + 1


def hold(frame: DataFrame) -> DataFrame:
    """Keep the rows of a frame on executors' disks until :func:`release`; serverless platforms have none to keep them
    on, so that with Connect the frame is evaluated each time it is used."""
    return frame if is_remote(frame.sparkSession) else frame.persist(StorageLevel.DISK_ONLY)


def release(frame: DataFrame) -> None:
    """Give up what :func:`hold` keeps."""
    if not is_remote(frame.sparkSession):
        frame.unpersist()


def shares_folder(spark: SparkSession, folder: str) -> bool:
    """Whether Spark's driver sees a folder (a URI) that this process has made; a server may be another machine."""
    if not is_remote(spark):
        return True
    try:
        # looks the path up, without a job, and makes nothing of the names of what lies there
        _ = spark.read.option("recursiveFileLookup", "true").schema("value string").text(folder).schema
    except AnalysisException as error:
        if error.getCondition() == "PATH_NOT_FOUND":
            return False
        raise
    return True
