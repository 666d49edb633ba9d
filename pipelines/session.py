"""The only place that builds a Spark session; an active one is reused and left as it was found."""

from __future__ import annotations

import atexit
import hashlib
import io
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from pipelines.java import find_java, snappy_options

log = logging.getLogger(__name__)
_GONE = (
    Py4JError,
    OSError,
)  # the JVM went away: nothing is left to put back, and the first error is the one to tell

_SHIPPING = threading.Lock()

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
    """The active session, or a new one: the master that spark-submit gave, else ``local[*, 3]``.

    Raises:
        ScorelineError: when a session must be started and no Java 17 or 21 is found.
    """
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    os.environ.setdefault(
        "PYSPARK_PYTHON", sys.executable
    )  # else the first python3 on the PATH runs the workers
    builder = SparkSession.builder.appName(app_name)
    for key, value in {**_local_defaults(), **(conf or {})}.items():
        builder = builder.config(key, value)
    with _own_interrupts():
        return builder.getOrCreate()


@contextmanager
def _own_interrupts() -> Iterator[None]:
    """Keep the process's handler of Ctrl-C. PySpark's own calls the JVM from within a call to the JVM, which
    breaks the connection; :func:`stop_jobs` is the way to cancel."""
    before = signal.getsignal(signal.SIGINT)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, before)


def _local_defaults() -> dict[str, str]:
    """Settings for a session that no launcher has prepared; spark-submit's own come first."""
    from pyspark import SparkContext

    if SparkContext._gateway is not None or "PYSPARK_GATEWAY_PORT" in os.environ:
        return {}
    java = find_java()
    os.environ["JAVA_HOME"] = str(java)  # one that Spark cannot use must not stay in force
    return {
        "spark.master": "local[*, 3]",  # a worker that dies of memory is tried again, with smaller batches
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraJavaOptions": snappy_options(),
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


def ship_code(spark: SparkSession) -> None:
    """Give the workers this very package, wherever the driver has it from.

    The archive is named by its content: calling this again with the same code changes nothing.
    """
    archive = _archive()
    name = f"scoreline-{code_digest()}.zip"
    context = spark.sparkContext
    with _SHIPPING:
        if any(name in path for path in context._python_includes or ()):
            return
        folder = tempfile.mkdtemp(prefix="scoreline-code-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)  # until then executors may fetch it
        path = Path(folder) / name
        path.write_bytes(archive)
        context.addPyFile(str(path))


@cache
def _archive() -> bytes:
    package = Path(__file__).parent
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(package.rglob("*.py")):
            entry = zipfile.ZipInfo(str(file.relative_to(package.parent)))
            archive.writestr(entry, file.read_bytes())
    return buffer.getvalue()


@cache
def code_digest() -> str:
    """Names this very code: two processes with the same one score alike."""
    return hashlib.sha256(_archive()).hexdigest()[:12]


@contextmanager
def described(spark: SparkSession, name: str) -> Iterator[None]:
    """Name the jobs of a block, for the Spark UI, for counting them and for :func:`stop_jobs`."""
    context = spark.sparkContext
    before = {key: context.getLocalProperty(key) for key in ("spark.jobGroup.id", "spark.job.description")}
    context.setJobGroup(_group(name), f"scoreline {name}")
    try:
        yield
    finally:
        for key, old in before.items():
            with suppress(*_GONE):
                context.setLocalProperty(key, old)  # type: ignore[arg-type]  # None clears it


def _group(name: str) -> str:
    return f"scoreline:{name}"


def stop_jobs(spark: SparkSession, name: str, patience: float = 10.0) -> None:
    """After an interrupt: cancel the jobs of :func:`described` and wait, at most ``patience`` seconds, for their end.

    The interrupted call to the JVM has an answer that nobody has read: its connection is given up first,
    as the next call would take that answer for its own.
    """
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


def task_seconds(spark: SparkSession) -> float:
    """Seconds that tasks have occupied cores since the application began, over all executors."""
    executors = spark.sparkContext._jsc.sc().statusStore().executorList(False)
    return sum(executors.apply(i).totalDuration() for i in range(executors.size())) / 1000
