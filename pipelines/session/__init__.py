"""The only place that builds a Spark session; an active one is reused and left as it was found.

A session is a classic one, with a JVM of its own, or a remote one, the client of a Spark Connect server. What only one
of them can do is asked for here.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from pipelines import jvm_warmup
from pipelines.errors import MARKER
from pipelines.java import driver_options, find_java
from pipelines.session.interrupts import interruptible
from pipelines.session.platform import (
    await_server,
    hold,
    is_remote,
    parallelism,
    part_quietly,
    release,
    shares_folder,
    task_seconds,
)
from pipelines.session.resources import jvm_peak, place
from pipelines.session.shipping import code_digest, ship_bytes, ship_code
from pipelines.session.tasks import in_tasks

__all__ = [
    "RUN_SETTINGS", "await_server", "code_digest", "described", "hold", "in_tasks", "interruptible", "is_remote",
    "jvm_peak", "parallelism", "place", "release", "session", "settings", "shares_folder", "ship_bytes", "ship_code",
    "stop_jobs", "task_seconds",
]  # fmt: skip

log = logging.getLogger(__name__)
# Spark went away: nothing is left to put back, and the first error is the one to tell.
_GONE = (Py4JError, OSError, PySparkException)


# What one run needs, set for its time and put back afterwards.
RUN_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",  # CSV timestamps and all date extraction follow it
    "spark.sql.maxConcurrentOutputFileWriters": "16",  # writes both outputs of a task without sorting
    "spark.sql.codegen.hugeMethodLimit": "8000",  # HotSpot never compiles longer methods: split instead
    "spark.sql.files.ignoreCorruptFiles": "false",  # true loses rows without a word
    "spark.sql.files.ignoreMissingFiles": "false",
    "spark.sql.parquet.binaryAsString": "false",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",  # LEGACY would shift dates before 1582
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # not INT96, which readers take for local time
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
}


def session(app_name: str, conf: Mapping[str, str] | None = None) -> SparkSession:
    """The active session, or a new one: the master that spark-submit gave, the Connect server of ``SPARK_REMOTE``,
    else ``local[*, 3]``.

    Raises:
        ScorelineError: when a session must be started and no Java 17 or 21 is found, or the server does not answer.
    """
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    os.environ.setdefault(
        "PYSPARK_PYTHON", sys.executable
    )  # else the first python3 on the PATH runs the workers
    builder = SparkSession.builder.appName(app_name)
    options = {**_launched_defaults(), **_local_defaults(), **(conf or {})}
    for key, value in options.items():
        builder = builder.config(key, value)
    with _own_interrupts():
        if "SPARK_REMOTE" in os.environ:
            bare = SparkSession.builder.getOrCreate()  # settings would make the client ask, for minutes
            part_quietly(bare)
            await_server(bare)
            return builder.getOrCreate()
        if jvm_warmup.under_way():
            _context(SparkConf().setAll([("spark.app.name", app_name), *options.items()]))
            jvm_warmup.finished()
        spark = builder.getOrCreate()
    _quieten(spark)
    return spark


def _context(conf: SparkConf) -> None:
    """All of a session that can be made while the JVM warms up; plugins and listeners may set up the same classes."""
    if not any(conf.contains(f"spark.{brought}") for brought in ("plugins", "extraListeners")):
        SparkContext.getOrCreate(conf)


# What a process that runs alone leaves out of Spark's own log, as whole messages.
_SAID_OTHERWISE = (
    f".*{re.escape(MARKER)}.*",  # the run's error says it in a sentence
    "Exception in task .*",  # the scheduler tells of the same failure, with the same trace,
    "Aborting task.*",  # unless it is one of those above
    "Aborting job .*",  # it reaches the driver as an exception
    "CSV header does not conform .*Schema: __line.*",  # lines are read whole on purpose, and then taken apart
)


def _quieten(spark: SparkSession) -> None:
    """A model that fails does so in each attempt of a task, and Spark logs each three times with all its traces: the
    one line that says what to do would stand at the end of hundreds. Whatever else fails is logged as ever."""
    with suppress(Exception):  # another logging library: nothing is lost but quiet
        log4j = spark._jvm.org.apache.logging.log4j  # type: ignore[union-attr]
        result = log4j.core.Filter.Result
        root = log4j.LogManager.getContext(False).getConfiguration().getRootLogger()
        for pattern in _SAID_OTHERWISE:
            create = log4j.core.filter.RegexFilter.createFilter
            root.addFilter(create(f"(?s){pattern}", None, False, result.DENY, result.NEUTRAL))


@contextmanager
def _own_interrupts() -> Iterator[None]:
    """Keep the process's handler of Ctrl-C. PySpark's own calls the JVM from within a call to the JVM, which
    breaks the connection; :func:`stop_jobs` is the way to cancel."""
    before = signal.getsignal(signal.SIGINT)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, before)


def _launched_defaults() -> dict[str, str]:
    """Settings for any session that this process alone uses, but for a server's."""
    if "SPARK_REMOTE" in os.environ:
        return {}
    # Spark would note the line of code of each operation on a column, which takes ten calls of the JVM each time
    return {"spark.python.sql.dataFrameDebugging.enabled": "false"}


def _local_defaults() -> dict[str, str]:
    """Settings for a session that no launcher has prepared; spark-submit's own come first."""
    launched = ("PYSPARK_GATEWAY_PORT", "SPARK_REMOTE")
    if SparkContext._gateway is not None or any(name in os.environ for name in launched):
        return {}
    java = find_java()
    os.environ["JAVA_HOME"] = str(java)  # one that Spark cannot use must not stay in force
    return {
        "spark.master": "local[*, 3]",  # a worker that dies of memory is tried again, with smaller batches
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": driver_options(),
        "spark.sql.shuffle.partitions": "8",
    }


@contextmanager
def settings(spark: SparkSession, wanted: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Set SQL settings for the duration of a block; yields those the platform does not let us set."""
    before: dict[str, str | None] = {}
    refused = []
    for key, value in wanted.items():
        try:
            before[key] = spark.conf.get(key, None)
            spark.conf.set(key, value)
        except PySparkException as error:  # serverless platforms allow only some
            before.pop(key, None)
            refused.append(key)
            log.warning("the platform does not allow %s=%s: %s", key, value, str(error).splitlines()[0])
    try:
        yield tuple(refused)
    finally:
        for key, old in before.items():
            with suppress(*_GONE):
                spark.conf.unset(key) if old is None else spark.conf.set(key, old)


@contextmanager
def described(spark: SparkSession, name: str, run_date: str) -> Iterator[Callable[[str | None], None]]:
    """Name the jobs of a block, for the Spark UI and its event log, for counting them and for :func:`stop_jobs`.

    What is yielded is told the stage that begins, or None: ``scoreline NAME DATE: score`` describes its jobs. A Connect
    session has no descriptions.
    """
    if is_remote(spark):
        with _tagged(spark, _group(name)):
            yield lambda _: None
        return
    context, whole = spark.sparkContext, f"scoreline {name} {run_date}"

    def entering(stage: str | None) -> None:
        with suppress(*_GONE):
            context.setJobDescription(f"{whole}: {stage}" if stage else whole)

    before = {key: context.getLocalProperty(key) for key in ("spark.jobGroup.id", "spark.job.description")}
    context.setJobGroup(_group(name), whole)
    try:
        yield entering
    finally:
        for key, old in before.items():
            with suppress(*_GONE):
                context.setLocalProperty(key, old)  # type: ignore[arg-type]  # None clears it


@contextmanager
def _tagged(spark: SparkSession, tag: str) -> Iterator[None]:
    before = spark.getTags()
    spark.addTag(tag)
    try:
        yield
    finally:
        if tag not in before:
            spark.removeTag(tag)


def _group(name: str) -> str:
    return f"scoreline:{name}"


def stop_jobs(spark: SparkSession, name: str, patience: float = 10.0) -> None:
    """After an interrupt: cancel the jobs of :func:`described` and wait, at most ``patience`` seconds, for their end,
    which a Connect server does not tell.

    The interrupted call to the JVM has an answer that nobody has read: its connection is given up first,
    as the next call would take that answer for its own.
    """
    if is_remote(spark):
        with suppress(*_GONE):
            spark.interruptTag(_group(name))
        return
    context = spark.sparkContext
    gateway: Any = context._gateway
    with suppress(*_GONE):
        if (broken := gateway._gateway_client.get_thread_connection()) is not None:
            broken.close()
        context.cancelJobGroup(_group(name))
        tracker, end = context.statusTracker(), time.monotonic() + patience
        while time.monotonic() < end and set(tracker.getActiveJobsIds()) & set(
            tracker.getJobIdsForGroup(_group(name))
        ):
            time.sleep(0.05)
