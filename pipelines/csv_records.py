"""CSV records as rows of a declared schema, and the ways in which a record can be malformed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from pipelines import csv_files
from pipelines.records import InputFile
from pipelines.rules import RowRule, column

RAW = "__raw"  # the text of a malformed record, else NULL
FILE = "__file"  # the file a row came from
_CORRUPT = "columnNameOfCorruptRecord"
# A line as one field: a separator no text holds, and nothing that quotes or escapes.
_WHOLE_LINE = {"sep": "\u0001", "quote": "", "escape": "\u0000"}


def read(
    spark: SparkSession,
    files: Sequence[InputFile],
    paths: Sequence[str],
    schema: StructType,
    options: Mapping[str, str],
) -> DataFrame:
    """The columns of ``schema``, then ``__raw`` and ``__file``.

    Args:
        paths: the paths of ``files`` as Spark takes them.
        options: from :func:`pipelines.csv_files.options`.

    Raises:
        InputUnavailable: a multi-line file leaves a quote open.
    """
    full = StructType([*schema.fields, StructField(RAW, StringType())])
    if not csv_files.multiline(options):
        return _by_line(spark, paths, full, options)
    csv_files.check_closed(files, options)
    return _whole_files(spark, paths, full, options, csv_files.line_break(files[0], options))


def rules(schema: StructType, options: Mapping[str, str]) -> tuple[RowRule, ...]:
    """What is wrong with a record before any rule on values is asked.

    Java's number parser turns 1e999 into infinity and takes ``Infinity`` for a number, so that an infinite
    value in a text file is a malformed one. A replacement character says that bytes were not in the declared
    encoding; Spark itself only replaces them.
    """
    found = [RowRule("malformed_record", "read", lambda: column(RAW).isNotNull())]
    if not csv_files.multiline(options):
        found.append(RowRule("open_quote", "read", lambda: _open_quote(RAW, options)))
    for field in schema.fields:
        kind = field.dataType.simpleString()
        if kind in ("double", "float"):
            found.append(RowRule(f"not_finite({field.name})", "read", _infinite(field.name)))
        elif kind == "string":
            found.append(RowRule(f"wrong_encoding({field.name})", "read", _replaced(field.name)))
    return tuple(found)


def with_file(frame: DataFrame) -> DataFrame:
    """Add ``__file``; a column of the data may well be called ``_metadata``."""
    return frame.withColumn(FILE, frame.metadataColumn("_metadata")["file_path"])


def _by_line(
    spark: SparkSession, paths: Sequence[str], schema: StructType, options: Mapping[str, str]
) -> DataFrame:
    """Lines first, then their fields: Spark's reader keeps the text of a record only where the fields do not
    fit, and half of a record with a line break in quotes can fit."""
    kept = {k: v for k, v in options.items() if k in ("header", "encoding", "linesep", "comment")}
    reader = spark.read.format("csv").schema(f"__line string, {RAW} string")
    reader = reader.options(**kept, **_WHOLE_LINE, **{_CORRUPT: RAW, "columnPruning": "false"})
    # a line that holds the separator after all is malformed to this reader, which then has it in RAW
    lines = with_file(reader.load(list(paths))).select(F.coalesce(RAW, "__line").alias("__line"), FILE)
    rest = {k: v for k, v in options.items() if k not in (*kept, "enforceschema", "columnpruning")}
    parsed = lines.withColumn("__record", F.from_csv("__line", _ddl(schema), {**rest, _CORRUPT: RAW}))
    record = F.col("__record")
    malformed = record[RAW].isNotNull() | _open_quote("__line", options)
    raw = F.when(malformed, F.col("__line")).alias(RAW)
    return parsed.select(*(record[n].alias(n) for n in schema.names if n != RAW), raw, FILE)


def _ddl(schema: StructType) -> str:
    return ", ".join(f"`{f.name.replace('`', '``')}` {f.dataType.simpleString()}" for f in schema.fields)


def _open_quote(name: str, options: Mapping[str, str]) -> Column:
    """Whether a line leaves a quote open, as :func:`pipelines.csv_files.quotes` counts them."""
    quote, escape = options.get("quote", '"'), options["escape"]
    if not quote:
        return F.lit(False)
    text = F.col(name)
    if escape not in ("", quote):
        for plain in (escape * 2, escape + quote):
            text = F.replace(text, F.lit(plain), F.lit(""))
    size = F.octet_length(text) - F.octet_length(F.replace(text, F.lit(quote), F.lit("")))
    return F.col(name).contains(quote) & (size % (2 * len(quote.encode())) != 0)


def _whole_files(
    spark: SparkSession,
    paths: Sequence[str],
    schema: StructType,
    options: Mapping[str, str],
    line_break: str | None,
) -> DataFrame:
    reader = spark.read.format("csv").schema(schema).options(**options, **{_CORRUPT: RAW})
    return with_file((reader.option("lineSep", line_break) if line_break else reader).load(list(paths)))


def _infinite(name: str) -> Any:
    return lambda: F.abs(column(name)) == F.lit(float("inf"))


def _replaced(name: str) -> Any:
    return lambda: column(name).contains("\ufffd")
