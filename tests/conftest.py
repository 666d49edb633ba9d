"""One Spark session for the whole suite."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings
from pyspark.sql import SparkSession

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
settings.register_profile(
    "laws", deadline=None
)  # how long an example takes depends on what else the machine does
settings.load_profile("laws")


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """A suite started in the background of a shell ignores Ctrl-C, and so would the runs it interrupts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    from pipelines.session import session

    spark = session("scoreline-tests", {"spark.master": "local[2]", "spark.sql.shuffle.partitions": "2"})
    yield spark
    spark.stop()
