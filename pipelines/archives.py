"""The environment that workers run in when it comes as an archive: ``model.environment: archive``.

Spark unpacks archives where its executors work, and decides so when an application starts. A session that we
start is given the archive; of one that runs already we can only see whether it has it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pyspark import SparkFiles
from pyspark.sql import SparkSession

from pipelines.errors import ConfigInvalid

ALIAS = "environment"
_SETTINGS = ("spark.archives", "spark.yarn.dist.archives")


def settings(archive: str | None) -> Mapping[str, str]:
    """What a new session must be told so that its workers find the archive; nothing where there is none.

    Nothing either under spark-submit, whose ``--archives`` it is.

    Raises:
        ConfigInvalid: there is no such file.
    """
    if archive is None:
        return {}
    if "://" not in archive and not Path(archive).is_file():
        raise ConfigInvalid(
            f"model.archive: there is no file {archive!r}.",
            hint="Write it with: make package REQUIREMENTS=the model's requirements.txt",
        )
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        return {}
    path = archive if "://" in archive else str(Path(archive).resolve())
    return {"spark.archives": f"{path}#{ALIAS}"}


@contextmanager
def used(spark: SparkSession, archive: str | None) -> Iterator[None]:
    """Workers run the archive's Python for the time of the block; nothing changes where there is no archive.

    Raises:
        ConfigInvalid: the session was started without the archive, or its workers run another Python.
    """
    if archive is None:
        yield
        return
    alias = _alias(spark, archive)
    context = getattr(spark, "sparkContext", None)
    if context is None:  # Spark Connect: the server chose the Python, and each worker is checked in any case
        yield
        return
    before = context.pythonExec
    if str(context.master).startswith("local"):  # the one executor works where the driver does
        context.pythonExec = str(Path(SparkFiles.get(alias)) / "bin" / "python")
    elif before.removeprefix("./") != f"{alias}/bin/python":
        raise ConfigInvalid(
            f"model.archive: the workers of this session run {before!r}, expected './{alias}/bin/python'.",
            hint=f"Start it with PYSPARK_PYTHON=./{alias}/bin/python in the environment.",
        )
    try:
        yield
    finally:
        context.pythonExec = before


def _alias(spark: SparkSession, archive: str) -> str:
    """The folder into which Spark has unpacked the archive."""
    listed = [entry for key in _SETTINGS for entry in (spark.conf.get(key, "") or "").split(",") if entry]
    for entry in listed:
        path, _, alias = entry.partition("#")
        if Path(path).name == Path(archive).name:
            return alias or Path(path).name
    raise ConfigInvalid(
        f"model.archive: this Spark session runs without {archive!r}: found archives {listed or 'none'}.",
        hint=f"Archives are fixed when an application starts: spark-submit --archives {archive}#{ALIAS}, with "
        f"PYSPARK_PYTHON=./{ALIAS}/bin/python; or stop the session and let the job start its own.",
    )
