"""What Spark raises becomes an error with a next step."""

from __future__ import annotations

import json

import pytest
from pyspark.errors import PySparkException

from pipelines.errors import (
    MARKER,
    ConfigInvalid,
    InputUnavailable,
    ModelFailed,
    ModelUnavailable,
    ScorelineError,
    SinkUnwritable,
    SparkUnavailable,
)
from pipelines.failures import explained

HEAD = "Job aborted.\n\tat org.apache.spark.Foo\nCaused by: "


def from_worker(problem: str) -> str:
    body = json.dumps({"problem": problem, "batch": 3, "partition": 7, "stage": "predict"})
    return f"{HEAD}PythonException: {MARKER}{body}{MARKER}\n  File x, line 1"


CASES = {
    "disk full": (f"{HEAD}java.io.IOException: No space left on device", SinkUnwritable, "cannot write"),
    "sink removed": (
        f"{HEAD}java.io.FileNotFoundException: /mnt/out/p/_work/run_date=D~r~1/written/part-0 (No such file)",
        SinkUnwritable,
        "went away",
    ),
    "input removed": (
        f"{HEAD}java.io.FileNotFoundException: File file:/in/a.parquet does not exist",
        InputUnavailable,
        "file:/in/a.parquet",
    ),
    "input cut short": (f"{HEAD}java.io.EOFException: Unexpected end of input stream", InputUnavailable, "input"),
    "model returns too few rows": (
        from_worker("the model returned 2 rows for a batch of 3"),
        ModelFailed,
        "predict, partition 7, batch 3: the model returned 2 rows",
    ),
    "untrusted types": (
        from_worker("the model cannot be loaded: X: Untrusted types found in the file: ['a.B']"),
        ConfigInvalid,
        r"\['a.B'\]",
    ),
    "missing library": (
        from_worker("the model cannot be loaded: ModuleNotFoundError: No module named 'x'"),
        ConfigInvalid,
        "No module named",
    ),
    "another Python": (
        "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.12 than that in driver: 3.11, PySpark",
        ConfigInvalid,
        r"would run Python 3\.12, but the driver is Python 3\.11\. Set PYSPARK_PYTHON .*requirements\.lock",
    ),
    "no Python": (
        f'{HEAD}java.io.IOException: Cannot run program "/opt/py": Exec failed, error: 2',
        ConfigInvalid,
        "'/opt/py', which cannot be started. Set PYSPARK_PYTHON",
    ),
    "a Python that fails": (
        f"{HEAD}SparkException: \nError from python worker:\n  command not found\nPYTHONPATH was:\nEOFException",
        ConfigInvalid,
        "does not start: command not found. Set PYSPARK_PYTHON",
    ),
    "a Python without pandas": (
        f"{HEAD}PythonException: Traceback\nModuleNotFoundError: No module named 'pandas'",
        ConfigInvalid,
        "without the package 'pandas'. Set PYSPARK_PYTHON",
    ),
    "port in use": (
        "java.net.BindException: Address already in use: Service 'SparkUI' failed after 16 retries!",
        ConfigInvalid,
        r"SparkUI found its port in use .* Leave spark\.ui\.port out",
    ),
    "no such address": (
        "java.net.BindException: Cannot assign requested address: Service 'sparkDriver' failed after 16 retries",
        ConfigInvalid,
        "sparkDriver cannot listen at its address.* SPARK_LOCAL_IP",
    ),
    "no master": (
        "[MASTER_URL_NOT_SET] A master URL must be set in your configuration.",
        ConfigInvalid,
        r"without a master; spark-submit --remote gives .* none\. Give spark-submit a --master\. .*SPARK_REMOTE=sc://",
    ),
    "worker died": (
        f"{HEAD}SparkException: Python worker exited unexpectedly (crashed)\nCaused by: java.io.EOFException",
        ModelFailed,
        "a Python worker died",
    ),
    "out of memory": (f"{HEAD}java.lang.OutOfMemoryError: Java heap space", ScorelineError, "ran out of memory"),
    "Connect server gone": (
        '<_MultiThreadedRendezvous of RPC that terminated with:\n\tstatus = StatusCode.UNAVAILABLE',
        SparkUnavailable,
        "gone away",
    ),
    "Connect server started again": (
        "[INVALID_HANDLE.SESSION_NOT_FOUND] The handle x is invalid. Session not found.",
        SparkUnavailable,
        "Session not found",
    ),
    "anything else": (f"{HEAD}java.lang.IllegalStateException: odd", ScorelineError, "IllegalStateException: odd"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_cause_decides_the_error_and_its_message_names_it(case):
    text, kind, match = CASES[case]
    with pytest.raises(ScorelineError, match=match) as caught, explained():
        raise PySparkException(text)
    assert type(caught.value) is kind
    assert caught.value.hint


def test_an_error_that_is_explained_already_passes_as_it_is():
    error = ModelUnavailable("no registry", hint="retry")
    with pytest.raises(ModelUnavailable) as caught, explained():
        raise error
    assert caught.value is error


def test_a_fault_of_ours_keeps_its_cause():
    with pytest.raises(ScorelineError, match="ZeroDivisionError") as caught, explained():
        1 / 0  # noqa: B018 - the error is the point
    assert caught.value.exit_code == 70
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def stumbling() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        raise OSError(107, "Transport endpoint is not connected")  # noqa: B904 - as py4j does


def test_an_interrupt_on_which_a_library_stumbles_is_still_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), explained():
        stumbling()
