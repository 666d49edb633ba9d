"""A store that only Hadoop's FileSystem reaches: a mount table of viewfs, with a folder of this machine behind it."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from pyspark.sql import SparkSession

FOLDERS: dict[str, Path] = {}  # what is behind the path /store of each mount table
_NUMBERS = count()


def mounted(spark: SparkSession, folder: Path) -> str:
    """The address of ``folder``; each is a file system of its own to Hadoop."""
    table = f"table{next(_NUMBERS)}"
    conf = spark.sparkContext._jsc.hadoopConfiguration()  # type: ignore[union-attr]
    conf.set(f"fs.viewfs.mounttable.{table}.link./store", f"file://{folder}")
    FOLDERS[f"viewfs://{table}"] = folder
    return f"viewfs://{table}/store"
