"""A few pieces of work, each for a task of its own, without a plan of Spark SQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from pyspark import SparkContext
from pyspark.sql import SparkSession

Result = TypeVar("Result")
# What Spark SQL tells its workers besides: one that was told something else is another one, and imports all again.
_OF_SQL = {"SPARK_SIMPLIFIED_TRACEBACK": "1"}
_PACKING = threading.Lock()


def in_tasks(
    spark: SparkSession, work: Callable[[Iterable[bytes]], Iterable[Result]], pieces: Sequence[bytes]
) -> list[Result]:
    """Run ``work`` in a task for each of ``pieces``, which gets that one alone; all results, in the order of pieces.

    Nothing is analyzed, planned and compiled for it, which takes a driver that has just started a second. Only for a
    classic session.
    """
    if not pieces:
        return []

    def whole(given: Iterable[bytes]) -> Iterable[Result]:
        return work(list(given))  # a worker that leaves something unread is not used again

    context = spark.sparkContext
    tasks = context.parallelize(pieces, len(pieces)).mapPartitions(whole)
    with _PACKING, _environment(context):
        tasks.id()  # packs the function, and with it the environment
    found: list[Result] = tasks.collect()
    return found


@contextmanager
def _environment(context: SparkContext) -> Iterator[None]:
    """What functions that are packed meanwhile tell their workers. The dictionary is another one: threads that pack
    functions of their own go through theirs."""
    before = context.environment
    context.environment = {**before, **_OF_SQL}
    try:
        yield
    finally:
        context.environment = before
