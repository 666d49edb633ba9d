"""One Spark session for the whole suite."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    from pipelines.session import session

    spark = session("scoreline-tests", {"spark.master": "local[2]", "spark.sql.shuffle.partitions": "2"})
    yield spark
    spark.stop()
