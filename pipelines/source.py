"""Read CSV or Parquet with a declared schema, so that a malformed record is a row too.

Nothing is inferred from values. File names, sizes, headers and footers are looked at before Spark is asked
for anything: what is wrong with an input is then said by file and column, and before any job has run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import has_magic
from pathlib import PurePosixPath
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StructField, StructType, _parse_datatype_string

from pipelines import csv_files, csv_records, input_files, parquet_files, storage
from pipelines.config import Source
from pipelines.errors import ConfigInvalid
from pipelines.records import InputFile
from pipelines.rules import RowRule

RAW, FILE = csv_records.RAW, csv_records.FILE
_INTERNAL = re.compile(
    r"__(raw|file|record|line|scored|state|error|predicted|(s|mask|after)\d+)", re.IGNORECASE
)
_CHECKSUMS = "parquet.page.verify-checksum.enabled"  # off by default: a changed byte would be a changed value
_CHOOSES_FILES = (
    "ignorecorruptfiles", "ignoremissingfiles", "pathglobfilter", "modifiedbefore", "modifiedafter",
    "recursivefilelookup",
)  # fmt: skip


@dataclass(frozen=True)
class SourceTable:
    """``frame`` has the columns of ``schema``, then ``__raw`` and ``__file``; ``rows`` is what Parquet footers
    promise (None for CSV); ``rules`` are the ways in which a record can be malformed; ``warnings`` say what a
    reader of the record should know of the files; ``footers`` what those of Parquet files say; ``load`` declares the
    read of some of the files, ``load_lines`` that of files of lines without a header; ``options`` are CSV's."""

    frame: DataFrame
    schema: StructType
    files: tuple[InputFile, ...]
    rows: int | None
    rules: tuple[RowRule, ...]
    warnings: tuple[str, ...] = ()
    footers: parquet_files.Footers | None = None
    load: Callable[[Sequence[InputFile]], DataFrame] | None = None
    load_lines: Callable[[Sequence[InputFile]], DataFrame] | None = None
    options: Mapping[str, str] | None = None

    def only(self, files: Sequence[InputFile]) -> SourceTable:
        """The same table, from some of its files."""
        if self.load is None:
            raise TypeError("this table cannot be loaded in parts")
        footers = None if self.footers is None else self.footers.of(f.path for f in files)
        rows = None if footers is None else footers.rows
        return replace(self, frame=self.load(files), files=tuple(files), rows=rows, footers=footers)

    @property
    def summary(self) -> dict[str, Any]:
        """Number, bytes and digest of the input files, for the record."""
        return {
            "files": len(self.files),
            "bytes": sum(f.size for f in self.files),
            "digest": input_files.files_digest(self.files),
        }


def read(
    spark: SparkSession,
    config: Source,
    wanted: Mapping[str, str],
    files: tuple[InputFile, ...] | None = None,
) -> SourceTable:
    """Declare the read; no row is read yet.

    Args:
        wanted: Spark type of each source column the model or ``source.types`` has a word on.
        files: what :func:`pipelines.input_files.list_files` found at ``config.path``, if it was asked already.

    Raises:
        InputUnavailable: the input is missing, empty or unreadable.
        ConfigInvalid: files disagree on their columns, or options contradict the format.
    """
    _check_options(config.options)
    files = input_files.list_files(config.path) if files is None else files
    try:
        reads = _read_csv if config.format == "csv" else _read_parquet
        table = reads(spark, config, files, wanted)
        _ = table.frame.schema  # a Connect client asks its server only now
    except PySparkException as error:
        raise ConfigInvalid(
            f"source: Spark refuses to read {config.path!r}: {str(error).splitlines()[0]}",
            hint="Check source.format, source.options and source.types.",
        ) from error
    return table


def _check_options(options: Mapping[str, Any]) -> None:
    for name, value in options.items():
        if name.lower() in _CHOOSES_FILES:
            raise ConfigInvalid(
                f"source.options.{name}: found {value!r}, but this option can leave out files or rows unseen.",
                hint="Remove it; source.path alone says what is read.",
            )


def _read_csv(
    spark: SparkSession, config: Source, files: tuple[InputFile, ...], wanted: Mapping[str, str]
) -> SourceTable:
    options = csv_files.options(config.options, has_header=config.header is None)
    names = _allowed(csv_files.columns(files, options, config.header))
    _check_types(config.types, names)
    kinds = {n: wanted.get(n, "string") for n in names}
    one_of = {kind: n for n, kind in reversed(kinds.items())}
    types = {kind: _scalar(n, kind) for kind, n in one_of.items()}  # Spark is asked once for each
    schema = StructType([StructField(n, types[kind]) for n, kind in kinds.items()])

    def load(some: Sequence[InputFile], header: str = options["header"]) -> DataFrame:
        filled = [f for f in some if f.size > 0]
        return csv_records.read(spark, filled, _paths(filled), schema, {**options, "header": header})

    frame = load(files)
    cut = csv_files.unfinished(files)
    warning = f"source: {len(cut)} file(s) end without a line break, perhaps cut short: {', '.join(cut[:3])}"
    return SourceTable(
        frame,
        schema,
        files,
        None,
        csv_records.rules(schema, options),
        (warning,) if cut else (),
        load=load,
        load_lines=lambda some: load(some, "false"),
        options=options,
    )


def _check_types(types: Mapping[str, str], names: Sequence[str]) -> None:
    unknown = [n for n in types if n not in names]
    if unknown:
        raise ConfigInvalid(
            f"source.types: the input has no column {', '.join(map(repr, unknown))}; it has {', '.join(names)}.",
            hint="Correct the names.",
        )


def _scalar(name: str, kind: str) -> DataType:
    parsed = _parse_datatype_string(kind)
    if isinstance(parsed, (ArrayType, MapType, StructType)):
        raise ConfigInvalid(
            f"source.types.{name}: found {kind!r}, expected a type that a field of text can hold.",
            hint="Declare it as string, or use Parquet.",
        )
    return parsed


def _allowed(names: list[str]) -> list[str]:
    taken = [n for n in names if _INTERNAL.fullmatch(n)]
    if taken:
        raise ConfigInvalid(
            f"source: the input has columns {taken}, names that are used on the way.",
            hint="Rename them in the input.",
        )
    return names


def _read_parquet(
    spark: SparkSession, config: Source, files: tuple[InputFile, ...], wanted: Mapping[str, str]
) -> SourceTable:
    footers = parquet_files.check(files)
    names = footers.schema.names
    options = {"basePath": _base_path(config.path), _CHECKSUMS: "true", **config.options}
    reader = spark.read.format("parquet").options(**{k: v for k, v in options.items() if v is not None})
    known = None if config.options or _in_folders(files) else footers.types
    if known is not None:
        told = [{"name": n, "type": t, "nullable": True, "metadata": {}} for n, t in known]
        reader = reader.schema(StructType.fromJson({"type": "struct", "fields": told}))
    frame = reader.load(_paths(files))
    _allowed(frame.columns)
    inferred = [f.name for f in frame.schema.fields if f.name not in names]
    if inferred:  # folder names are text as CSV is: what nothing declares stays text, and 007 is not 7
        fields = [StructField(n, _parse_datatype_string(wanted.get(n, "string"))) for n in inferred]
        declared = [f for f in frame.schema.fields if f.name in names]
        frame = reader.schema(StructType([*declared, *fields])).load(_paths(files))
    schema = frame.schema

    def load(some: Sequence[InputFile]) -> DataFrame:
        part = reader.schema(schema).load(_paths(some))
        return csv_records.with_file(part.withColumn(RAW, F.lit(None).cast("string")))

    frame = csv_records.with_file(frame.withColumn(RAW, F.lit(None).cast("string")))
    return SourceTable(frame, schema, files, footers.rows, (), footers=footers, load=load)


def _in_folders(files: Sequence[InputFile]) -> bool:
    """Whether the names of folders may be columns."""
    return any("=" in PurePosixPath(f.path).parent.as_posix() for f in files)


def _base_path(path: str) -> str | None:
    """Where hive partition folders begin: the folder itself, or what stands before a glob's first wildcard."""
    root = storage.place(path)
    if has_magic(str(root)) and not root.exists():
        while has_magic(str(root)):
            root = root.parent
    return storage.uri(root) if root.is_dir() else None


def _paths(files: Sequence[InputFile]) -> list[str]:
    return [storage.literal(f.path) for f in files]
