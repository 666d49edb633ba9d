"""A session is built once, and an active one is left as it was found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import grpc
import pyarrow as pa
import pytest
from processes import ROOT
from pyspark import SparkFiles
from pyspark.sql import SparkSession
from pyspark.sql.connect.client import SparkConnectClient

import pipelines
from pipelines import session
from pipelines.errors import MARKER, SparkUnavailable


def test_the_active_session_is_reused(spark: SparkSession) -> None:
    assert session.session("another name") is spark


def test_settings_hold_inside_the_block_and_are_put_back_after_it_even_on_failure(
    spark: SparkSession,
) -> None:
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    spark.conf.unset("spark.sql.files.ignoreCorruptFiles")
    wanted = {"spark.sql.session.timeZone": "UTC", "spark.sql.files.ignoreCorruptFiles": "true"}
    try:
        with pytest.raises(ZeroDivisionError):
            _fail_within(spark, wanted)
        assert spark.conf.get("spark.sql.session.timeZone") == "Asia/Tokyo"
        assert spark.conf.get("spark.sql.files.ignoreCorruptFiles") == "false"
    finally:
        spark.conf.unset("spark.sql.session.timeZone")


def _fail_within(spark: SparkSession, wanted: dict[str, str]) -> None:
    with session.settings(spark, wanted) as refused:
        assert {k: spark.conf.get(k) for k in wanted} == wanted
        assert refused == ()
        raise ZeroDivisionError


def test_a_setting_that_the_platform_refuses_is_named_and_the_others_hold(spark: SparkSession) -> None:
    wanted = {"spark.sql.warehouse.dir": "/x", "spark.sql.shuffle.partitions": "3"}  # the first is static
    before = spark.conf.get("spark.sql.shuffle.partitions")
    with session.settings(spark, wanted) as refused:
        assert refused == ("spark.sql.warehouse.dir",)
        assert spark.conf.get("spark.sql.shuffle.partitions") == "3"
    assert spark.conf.get("spark.sql.shuffle.partitions") == before


def test_the_package_is_shipped_once_however_often_it_is_asked_for(spark: SparkSession) -> None:
    session.ship_code(spark)
    before = list(spark.sparkContext._python_includes)
    session.ship_code(spark)
    assert spark.sparkContext._python_includes == before


def test_what_workers_get_is_the_whole_package(spark: SparkSession) -> None:
    session.ship_code(spark)
    archive = next(p for p in spark.sparkContext._python_includes if p.startswith("scoreline-"))
    package = Path(pipelines.__file__).parent
    with zipfile.ZipFile(SparkFiles.get(archive)) as found:
        shipped = {name: found.read(name) for name in found.namelist()}
    assert shipped == {str(f.relative_to(package.parent)): f.read_bytes() for f in package.rglob("*.py")}


def test_each_piece_of_work_has_a_task_and_results_come_in_order(spark: SparkSession) -> None:
    pieces = [bytes([n]) for n in range(7)]
    before = dict(spark.sparkContext.environment)

    def doubled(given: Iterable[bytes]) -> list[tuple[int, bytes]]:
        return [(len(list(given)), piece * 2) for piece in given]

    assert session.in_tasks(spark, doubled, pieces) == [(1, piece * 2) for piece in pieces]
    assert spark.sparkContext.environment == before


def test_workers_of_pieces_of_work_are_used_again_even_if_these_read_nothing(spark: SparkSession) -> None:
    pids = [pid for _ in range(10) for pid in session.in_tasks(spark, lambda _: [os.getpid()], [b"", b""])]
    assert len(set(pids)) < len(pids) / 2


def test_workers_of_pieces_of_work_are_told_what_those_of_spark_sql_are(spark: SparkSession) -> None:
    def told() -> list[tuple[str, str]]:  # libraries add variables of their own
        return sorted((k, v) for k, v in os.environ.items() if k.startswith(("SPARK", "PYSPARK", "PYTHON")))

    def of_sql(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for _ in batches:
            names, values = zip(*told(), strict=True)
            yield pa.RecordBatch.from_pydict({"name": names, "value": values})

    rows = spark.range(0, 1, 1, 1).mapInArrow(of_sql, "name string, value string").collect()
    assert [tuple(row) for row in rows] == session.in_tasks(spark, lambda _: told(), [b""])
    assert ("SPARK_SIMPLIFIED_TRACEBACK", "1") in [tuple(row) for row in rows]


def test_jobs_of_a_block_are_known_by_its_name_and_the_group_before_is_put_back(spark: SparkSession) -> None:
    context = spark.sparkContext
    context.setJobGroup("mine", "my own jobs")
    with session.described(spark, "described", "2026-11-22"):
        spark.range(3).collect()
    spark.range(3).collect()
    assert len(context.statusTracker().getJobIdsForGroup("scoreline:described")) == 1
    assert context.getLocalProperty("spark.jobGroup.id") == "mine"
    assert context.getLocalProperty("spark.job.description") == "my own jobs"
    context.setLocalProperty("spark.jobGroup.id", None)  # type: ignore[arg-type]


def test_an_interrupt_cancels_the_jobs_of_a_block_and_leaves_the_session_usable(spark: SparkSession) -> None:
    caught = threading.Event()

    def interrupt_once_it_runs() -> None:
        tracker = spark.sparkContext.statusTracker()
        while not (set(tracker.getActiveJobsIds()) & set(tracker.getJobIdsForGroup("scoreline:slow"))):
            pass
        while True:  # one that arrives within a finalizer is lost
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            if caught.wait(25):
                return

    def sleepily(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            time.sleep(60)
            yield batch

    with session.described(spark, "slow", "2026-11-22"):
        thread = threading.Thread(target=interrupt_once_it_runs)
        thread.start()
        with pytest.raises((KeyboardInterrupt, OSError)):  # py4j may stumble while it handles the first
            # a write, as in a run; collect would speak to the interrupted JVM once more on its way out
            spark.range(1).mapInArrow(sleepily, "id bigint").write.format("noop").mode("overwrite").save()
        caught.set()
        thread.join()
        session.stop_jobs(spark, "slow")
        end = time.monotonic() + 10  # Spark tells of a job's end a little after it
        while (left := spark.sparkContext.statusTracker().getActiveJobsIds()) and time.monotonic() < end:
            time.sleep(0.1)
        assert left == []
        assert [r.id for r in spark.range(3).collect()] == [0, 1, 2]


def test_task_seconds_grow_with_work(spark: SparkSession) -> None:
    before = session.task_seconds(spark)
    spark.range(1, numPartitions=1).where("java_method('java.lang.Thread', 'sleep', 50L) IS NULL").collect()
    assert session.task_seconds(spark) - before >= 0.05


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (f"Lost task 0.0: PythonException: Traceback\n  x\n{MARKER}{{}}{MARKER}\n", False),
        ("Exception in task 0.0 in stage 1.0 (TID 1)", False),
        ("Aborting task", False),
        ("CSV header does not conform to the schema.\n Header: id, a\n Schema: __line\n", False),
        ("CSV header does not conform to the schema.\n Header: id, a\n Schema: id, b\n", True),
        ("Lost task 0.0: java.lang.OutOfMemoryError: Java heap space", True),
        ("Task 0 in stage 1.0 failed 3 times; aborting job", True),
    ],
)
def test_sparks_log_leaves_out_only_what_the_run_says_itself(
    spark: SparkSession, message: str, kept: bool
) -> None:
    log4j = spark._jvm.org.apache.logging.log4j
    event = log4j.core.impl.Log4jLogEvent.newBuilder().setLevel(log4j.Level.ERROR)
    event = event.setMessage(log4j.message.SimpleMessage(message)).build()
    root = log4j.LogManager.getContext(False).getConfiguration().getRootLogger()
    assert root.isFiltered(event) != kept


def test_a_connect_server_that_does_not_answer_is_unavailable_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPARK_REMOTE", "sc://127.0.0.1:1/;token=s3cret")
    channel = grpc.insecure_channel("127.0.0.1:1")
    client = SimpleNamespace(client=SimpleNamespace(_channel=channel, close=channel.close))
    with pytest.raises(SparkUnavailable, match=r"no Connect server answers at 127\.0\.0\.1:1\.") as caught:
        session.await_server(client, seconds=0.2)
    assert (caught.value.exit_code, caught.value.retryable) == (69, True)
    with pytest.raises(ValueError, match="closed"):  # else the client tries for minutes when the process ends
        channel.unary_unary("/any")(b"")


ENDS = """
import atexit
from types import SimpleNamespace

from pipelines.session import platform

class Client:
    def _cleanup_ml_cache(self):
        print("asked")

spark = SimpleNamespace(client=Client())
atexit.register(spark.client._cleanup_ml_cache)  # as the client of a new session does
platform.part_quietly(spark)
platform.part_quietly(SimpleNamespace(client=object()))  # of another version
"""


def test_a_process_that_ends_asks_a_connect_server_for_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == ""
    assert hasattr(SparkConnectClient, "_cleanup_ml_cache")  # it is what this is about
