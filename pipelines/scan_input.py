"""Which inputs workers can read for themselves, and how these are cut into units."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyspark.sql import SparkSession

from pipelines import storage
from pipelines.config import Config
from pipelines.csv_forms import LineForm, NoForm, line_form
from pipelines.parquet_files import Footers, plain
from pipelines.records import InputFile
from pipelines.scoring import text, units
from pipelines.scoring.units import Piece, Unit
from pipelines.source import SourceTable

_AS_SPARK = {
    "boolean": {pa.bool_()}, "tinyint": {pa.int8()}, "smallint": {pa.int16()}, "int": {pa.int32()},
    "bigint": {pa.int64()}, "float": {pa.float32()}, "double": {pa.float64()}, "string": {pa.string()},
    "binary": {pa.binary()}, "date": {pa.date32()},
}  # fmt: skip
_LONG = 64 << 20  # a text that is held as a whole if need be
_SAMPLE, _FEW, _SHARE = 256 << 10, 100, 0.1  # bytes; lines that prove nothing; share of lines left to Spark


class Unsuitable(Exception):
    """The input or a rule needs Spark to look at rows; the message says which."""


def cut(spark: SparkSession, table: SourceTable, config: Config) -> tuple[tuple[Unit, ...], LineForm | None]:
    """The input in units, and for CSV the form of its lines.

    Raises:
        Unsuitable: workers would not read what Spark reads.
    """
    if storage.is_remote(config.sink.path, *(f.path for f in table.files)):
        raise Unsuitable("only Spark reaches stores that are not mounted")
    columns = len(table.schema)
    if table.options is None:
        return units.cut(_plain_footers(table, config).groups, columns), None
    form = _form(spark, table)
    filled = [f for f in table.files if f.size]
    _check_breaks(filled)
    _check_sample(form, sorted({0, len(filled) // 2, len(filled) - 1}), filled)
    return units.cut(units.text_parts(filled, columns, text.PACKED), columns), form


def _form(spark: SparkSession, table: SourceTable) -> LineForm:
    fields = [(f.name, f.dataType.simpleString()) for f in table.schema.fields]
    old = spark.conf.get("spark.sql.legacy.timeParserPolicy", "CORRECTED")
    if old == "LEGACY" and any(kind.startswith(("date", "timestamp")) for _, kind in fields):
        raise Unsuitable("spark.sql.legacy.timeParserPolicy is LEGACY")
    try:
        return line_form(fields, table.options or {})
    except NoForm as reason:
        raise Unsuitable(str(reason)) from None


def _check_breaks(files: Sequence[InputFile]) -> None:
    """Workers cut texts at line feeds; one without any would have to be held as a whole."""
    for file in files:
        if file.size > _LONG and not file.path.endswith(text.PACKED):
            with open(file.path, "rb") as head:
                if b"\n" not in head.read(1 << 20):
                    raise Unsuitable(f"{file.path} has no line feed in its first megabyte")


def _check_sample(form: LineForm, places: Sequence[int], files: Sequence[InputFile]) -> None:
    """Where most lines are for Spark, it had better read them at once."""
    lines = rest = 0
    for file in (files[i] for i in places):
        try:
            block = next(text.blocks(form, Piece(file.path, (0,), 0, min(file.size, _SAMPLE))), None)
        except (OSError, EOFError, zlib.error):
            continue  # a worker will say so
        if block:
            lines += block.lines
            rest += block.lines - block.rows
    if lines >= _FEW and rest > _SHARE * lines:
        raise Unsuitable(f"{rest} of {lines} sampled lines are of a form that only Spark reads")


def _plain_footers(table: SourceTable, config: Config) -> Footers:
    """What the files' footers say, if pyarrow reads from the files what Spark reads."""
    if table.footers is None:
        raise Unsuitable(f"{config.source.format} is read by Spark")
    if config.source.options:
        raise Unsuitable(f"source.options ({', '.join(config.source.options)}) are Spark's")
    found = {f.name: plain(f.type) for f in table.footers.schema}
    folders = {p.partition("=")[0].casefold() for f in table.files for p in Path(f.path).parts if "=" in p}
    for field in table.schema.fields:
        kind = field.dataType.simpleString()
        if field.name.casefold() in folders:
            raise Unsuitable(f"column {field.name!r} is the name of a folder, too")
        if "__CHAR_VARCHAR_TYPE_STRING" in field.metadata:
            raise Unsuitable(f"column {field.name!r} is a char or varchar of Spark's")
        if table.footers.legacy and kind in ("date", "timestamp", "timestamp_ntz"):
            raise Unsuitable(f"column {field.name!r} counts its days by an older calendar")
        if field.name not in found:
            raise Unsuitable(f"column {field.name!r} comes from folder names")
        if not _same(kind, found[field.name]):
            raise Unsuitable(f"column {field.name!r} ({kind}) is stored as {found[field.name]}")
    return table.footers


def _same(kind: str, stored: pa.DataType) -> bool:
    if kind in ("timestamp", "timestamp_ntz"):
        utc = kind == "timestamp"
        return (
            pa.types.is_timestamp(stored) and stored.unit in ("ms", "us") and (stored.tz is not None) == utc
        )
    return stored in _AS_SPARK.get(kind, ())
