"""Labels as they were delivered: files of keys and labels, of which the newest says what holds.

Deliveries may come in several files, CSV beside Parquet, repeat keys and correct what an earlier one said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from pipelines import csv_files, csv_records, storage
from pipelines.errors import ConfigInvalid, InputUnavailable
from pipelines.records import InputFile
from pipelines.rules import column, never_null

LABEL, ROWS, CONFLICT = "__label", "__rows", "__conflict"
_TIME, _RANK, _MALFORMED = "__time", "__rank", "__malformed"
_OPTIONS = csv_files.options({}, has_header=True)
_WHOLE = ("tinyint", "smallint", "int", "bigint")
_EXACT = 2.0**53  # from here on not every whole number is a double


@dataclass(frozen=True)
class Wanted:
    """Which columns are read: ``keys`` with the Spark types that the predictions have, the label, and the time
    of each label where there is one."""

    keys: Mapping[str, str]
    label: str = "label"
    time: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.keys, self.label, *([self.time] if self.time else []))


def key_name(number: int) -> str:
    """The column that holds the ``number``-th part of the key."""
    return f"__key{number}"


def list_deliveries(path: str) -> tuple[InputFile, ...]:
    """The files of a folder, or the one file, oldest delivery first; those of one moment by path.

    Raises:
        InputUnavailable: there are none, or they cannot be read.
        ConfigInvalid: a file is neither CSV nor Parquet.
    """
    root = Path(path.removeprefix("file://")).absolute()
    try:
        found = sorted(root.rglob("*")) if root.is_dir() else [root]
        files = [p for p in found if p.is_file() and not _hidden(p.relative_to(root.parent))]
        listed = [InputFile(str(p), (s := p.stat()).st_size, s.st_mtime_ns) for p in files]
    except OSError as error:
        raise InputUnavailable(
            f"labels: cannot read {str(root)!r} ({error.strerror}).", hint="Check its permissions."
        ) from error
    filled = [f for f in listed if f.size > 0]
    if not filled:
        raise InputUnavailable(
            f"labels: nothing to read at {path!r}.",
            hint="Check the path and that labels have arrived, then run again.",
        )
    for file in filled:
        if not re.search(r"\.(parquet|csv|csv\.gz|csv\.bz2)$", file.path):
            raise ConfigInvalid(
                f"labels: found {file.path}, expected names that end in .parquet, .csv, .csv.gz or .csv.bz2.",
                hint="Rename the file, or move it out of the folder of labels.",
            )
    return tuple(sorted(filled, key=lambda f: (f.mtime_ns, f.path)))


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts[1:] or path.parts)


def read(spark: SparkSession, files: Sequence[InputFile], wanted: Wanted) -> DataFrame:
    """All delivered rows: typed keys, the label and its time, the delivery's rank and whether a record is malformed.

    A key that is not of its type is NULL. The label is text, or what Parquet holds.

    Raises:
        ConfigInvalid: a file lacks a column.
        InputUnavailable: a file is no Parquet or no CSV.
    """
    groups: dict[tuple[tuple[str, str], ...], list[InputFile]] = {}
    for file in files:
        groups.setdefault(_layout(file, wanted), []).append(file)
    parts = [_read(spark, some, layout, wanted) for layout, some in groups.items()]
    ranks = spark.createDataFrame([(f.path, i) for i, f in enumerate(files)], f"__path string, {_RANK} int")
    path = F.regexp_replace(F.url_decode(F.replace(F.col(csv_records.FILE), F.lit("+"), F.lit("%2B"))),
                            "^file:/+", "/")  # fmt: skip
    every = reduce(DataFrame.unionByName, parts).withColumn("__path", path)
    return every.join(F.broadcast(ranks), "__path", "left").drop("__path", csv_records.FILE)


def _layout(file: InputFile, wanted: Wanted) -> tuple[tuple[str, str], ...]:
    """Names and types of a file's columns: files of one layout are read at once. All fields of CSV are text."""
    if file.path.endswith(".parquet"):
        try:
            schema = pq.read_schema(file.path)
        except (pa.ArrowException, OSError) as error:
            raise InputUnavailable(
                f"{file.path}: is not readable as Parquet ({error}).",
                hint="Write the file again, then run again.",
            ) from error
        found = {field.name: str(field.type) for field in schema}
        layout = tuple((n, found[n]) for n in wanted.columns if n in found)
    else:
        found = dict.fromkeys(csv_files.columns([file], _OPTIONS, None), "csv")
        layout = tuple(found.items())
    missing = [n for n in wanted.columns if n not in found]
    if missing:
        raise ConfigInvalid(
            f"{file.path}: found the columns {', '.join(found)}, expected {', '.join(missing)} as well.",
            hint="The key is source.key; --label-column and --label-time name the others.",
        )
    return layout


def _read(
    spark: SparkSession, files: Sequence[InputFile], layout: tuple[tuple[str, str], ...], wanted: Wanted
) -> DataFrame:
    paths = [storage.literal(f.path) for f in files]
    if any(kind == "csv" for _, kind in layout):
        schema = StructType([StructField(n, StringType()) for n, _ in layout])
        frame = csv_records.read(spark, files, paths, schema, _OPTIONS)
        malformed = never_null(
            reduce(Column.__or__, (r.predicate() for r in csv_records.rules(schema, _OPTIONS)))
        )
    else:
        frame = csv_records.with_file(spark.read.option("recursiveFileLookup", "true").parquet(*paths))
        malformed = F.lit(False)
    types = dict(frame.dtypes)
    keys = [
        as_type(column(n), types[n], kind).alias(key_name(i))
        for i, (n, kind) in enumerate(wanted.keys.items())
    ]
    time = _moment(column(wanted.time), types[wanted.time]) if wanted.time else F.lit(None).cast("double")
    label = column(wanted.label).cast("string").alias(LABEL)
    return frame.select(*keys, label, time.alias(_TIME), malformed.alias(_MALFORMED), csv_records.FILE)


def _moment(value: Column, kind: str) -> Column:
    """Seconds since 1970 for times (text is read as UTC), numbers as they are; NULL, the oldest, for all else."""
    if kind in ("string", "date", "timestamp", "timestamp_ntz"):
        return F.unix_micros(value.try_cast("timestamp")) / 1e6
    return value.try_cast("double")


def as_type(value: Column, found: str, kind: str) -> Column:
    """``value`` as ``kind`` where nothing is lost, else NULL: ``1.0`` and ``true`` are whole numbers, 1.5 is none."""
    if found == kind:
        return value
    text = F.trim(value.cast("string"))
    if kind not in _WHOLE:
        return value.cast("string") if kind == "string" else text.try_cast(kind)
    number = text.try_cast("double")
    whole = F.when((number == F.floor(number)) & (F.abs(number) < _EXACT), number).try_cast("bigint")
    truth = F.when(F.lower(text) == "true", 1).when(F.lower(text) == "false", 0)
    return F.coalesce(text.try_cast("bigint"), whole, truth).try_cast(kind)


def counts(rows: DataFrame, keys: int) -> dict[str, int]:
    """What can be said of rows of :func:`read` before any is chosen: ``read``, ``malformed`` and ``without_key``."""
    keyless = reduce(Column.__or__, (F.col(key_name(i)).isNull() for i in range(keys)))
    found = rows.agg(
        F.count(F.lit(1)).alias("read"),
        F.count_if(F.col(_MALFORMED)).alias("malformed"),
        F.count_if(~F.col(_MALFORMED) & keyless).alias("without_key"),
    ).first()
    return found.asDict() if found else {}


def newest(rows: DataFrame, keys: int) -> DataFrame:
    """One row per key: the label that holds (NULL where it was taken back), from how many rows it was chosen, and
    whether the newest delivery contradicts itself; then the greatest label counts, in the order of text."""
    names = [key_name(i) for i in range(keys)]
    usable = rows.where(~F.col(_MALFORMED)).dropna(subset=names)
    said = usable.groupBy(*names, _TIME, _RANK).agg(
        F.max(LABEL).alias("high"), F.min(LABEL).alias("low"), F.count(F.lit(1)).alias("n")
    )
    last = F.max(F.struct(_TIME, _RANK, "high", "low")).alias("last")
    held = said.groupBy(*names).agg(last, F.sum("n").alias(ROWS))
    conflict = never_null(F.col("last.high") != F.col("last.low"))
    return held.select(*names, F.col("last.high").alias(LABEL), ROWS, conflict.alias(CONFLICT))
