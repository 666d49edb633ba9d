"""Read CSV or Parquet with a declared schema, so that a malformed record is a row too.

Nothing is inferred from values. File names, sizes, headers and footers are looked at before Spark is asked
for anything: what is wrong with an input is then said by file and column, and before any job has run.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from pipelines import csv_files, parquet_files
from pipelines.config import Source
from pipelines.errors import ConfigInvalid, InputUnavailable
from pipelines.records import InputFile
from pipelines.rules import RowRule, column

log = logging.getLogger(__name__)

RAW = "__raw"  # the text of a malformed CSV record, else NULL
FILE = "__file"  # the file a row came from


@dataclass(frozen=True)
class SourceTable:
    """``frame`` has the columns of ``schema``, then ``__raw`` and ``__file``; ``rows`` is what Parquet footers
    promise (None for CSV); ``rules`` are the ways in which a record can be malformed."""

    frame: DataFrame
    schema: StructType
    files: tuple[InputFile, ...]
    rows: int | None
    rules: tuple[RowRule, ...]

    @property
    def summary(self) -> dict[str, Any]:
        """Number, bytes and digest of the input files, for the record."""
        return {
            "files": len(self.files),
            "bytes": sum(f.size for f in self.files),
            "digest": files_digest(self.files),
        }


def files_digest(files: Sequence[InputFile]) -> str:
    """sha256 over the sorted (path, size, modification time in ns) of the input files."""
    lines = sorted(f"{f.path}\t{f.size}\t{f.mtime_ns}" for f in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def list_files(path: str) -> tuple[InputFile, ...]:
    """The files a folder, a file name or a glob means; hidden ones (``_x``, ``.x``) are not data.

    Raises:
        InputUnavailable: nothing is there, or it cannot be listed.
    """
    root = path.removeprefix("file://")
    if "://" in root:
        raise ConfigInvalid(
            f"source.path: {path!r} is on a remote store, expected a path that is mounted on this machine.",
            hint="Mount it (/Volumes, /dbfs, s3fs, NFS) and give the mounted path.",
        )
    matches = sorted(glob(root)) if has_magic(root) else [root]
    found = [f for match in matches for f in _walk(Path(match).absolute())]
    if not found:
        raise InputUnavailable(
            f"source.path: nothing to read at {path!r}.",
            hint="Check the path and that the data of this date has arrived, then run again.",
        )
    return tuple(found)


def _walk(path: Path) -> list[InputFile]:
    try:
        if path.is_dir():
            children = sorted(c for c in path.iterdir() if not c.name.startswith(("_", ".")))
            return [f for child in children for f in _walk(child)]
        stat = path.stat()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputUnavailable(
            f"source.path: cannot read {str(path)!r} ({error.strerror}).", hint="Check its permissions."
        ) from error
    if not os.access(path, os.R_OK):
        raise InputUnavailable(f"source.path: {str(path)!r} is not readable.", hint="Check its permissions.")
    return [InputFile(str(path), stat.st_size, stat.st_mtime_ns)]


def read(spark: SparkSession, config: Source, wanted: Mapping[str, str]) -> SourceTable:
    """Declare the read; no Spark job runs.

    Args:
        wanted: Spark type of each source column the model or the configuration has a word on.

    Raises:
        InputUnavailable: the input is missing, empty or unreadable.
        ConfigInvalid: files disagree on their columns, or options contradict the format.
    """
    files = list_files(config.path)
    try:
        if config.format == "csv":
            frame, schema, rows = _read_csv(spark, config, files, wanted)
        else:
            frame, schema, rows = _read_parquet(spark, config, files)
    except PySparkException as error:
        raise ConfigInvalid(
            f"source: Spark refuses to read {config.path!r}: {str(error).splitlines()[0]}",
            hint="Check source.format, source.options and source.types.",
        ) from error
    rules = _csv_rules(schema) if config.format == "csv" else ()
    return SourceTable(frame, schema, files, rows, rules)


def _read_csv(
    spark: SparkSession, config: Source, files: Sequence[InputFile], wanted: Mapping[str, str]
) -> tuple[DataFrame, StructType, None]:
    options = csv_files.options(config.options, has_header=config.header is None)
    names = csv_files.columns(files, options, config.header)
    types = {**{n: "string" for n in names}, **{n: t for n, t in wanted.items() if n in names}, **config.types}
    schema = StructType()
    for name in names:
        schema = schema.add(name, types[name])
    full = StructType([*schema.fields, StructField(RAW, StringType())])
    reader = spark.read.format("csv").schema(full).options(**options, columnNameOfCorruptRecord=RAW)
    frame = reader.load([f.path for f in files if f.size > 0])
    return _with_file(frame), schema, None


def _read_parquet(
    spark: SparkSession, config: Source, files: Sequence[InputFile]
) -> tuple[DataFrame, StructType, int]:
    rows = parquet_files.check(files)
    reader = spark.read.format("parquet").options(**config.options)
    if (base := _base_path(config.path)) is not None:
        reader = reader.option("basePath", base)
    frame = reader.load([f.path for f in files])
    schema = frame.schema
    return _with_file(frame.withColumn(RAW, F.lit(None).cast("string"))), schema, rows


def _base_path(path: str) -> str | None:
    """Where hive partition folders begin: the folder itself, or what stands before a glob's first wildcard."""
    root = path.removeprefix("file://")
    fixed = []
    for part in Path(root).absolute().parts:
        if has_magic(part):
            break
        fixed.append(part)
    base = Path(*fixed)
    return str(base) if base.is_dir() else None


def _with_file(frame: DataFrame) -> DataFrame:
    return frame.withColumn(FILE, F.col("_metadata.file_path"))


def _csv_rules(schema: StructType) -> tuple[RowRule, ...]:
    """What is wrong with a record before any rule on values is asked.

    Java's number parser turns 1e999 into infinity and takes ``Infinity`` for a number, so that an infinite
    value in a text file is a malformed one. A replacement character says that bytes were not in the declared
    encoding; Spark itself only replaces them.
    """
    rules = [RowRule("malformed_record", "read", lambda: column(RAW).isNotNull())]
    for field in schema.fields:
        kind = field.dataType.simpleString()
        if kind in ("double", "float"):
            rules.append(RowRule(f"not_finite({field.name})", "read", _infinite(field.name)))
        elif kind == "string":
            rules.append(RowRule(f"wrong_encoding({field.name})", "read", _replaced(field.name)))
    return tuple(rules)


def _infinite(name: str) -> Any:
    return lambda: F.abs(column(name)) == F.lit(float("inf"))


def _replaced(name: str) -> Any:
    return lambda: column(name).contains("\ufffd")
