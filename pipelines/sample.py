"""What a sample of the input shows without Spark: headers, footers and a bounded number of rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import has_magic
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from pyspark.errors import PySparkException, PySparkTypeError
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import DataType, DecimalType, IntegerType, LongType, ShortType, StringType

from pipelines import csv_files, parquet_files
from pipelines.errors import ConfigInvalid, InputUnavailable
from pipelines.records import InputFile

ROWS = 20_000  # most rows looked at
FILES = 8  # most files they are taken from
_SEPARATORS = (",", ";", "\t", "|")
_UNSIGNED = {8: ShortType(), 16: IntegerType(), 32: LongType(), 64: DecimalType(20, 0)}
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_DATE = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME = r"[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})?"
# The texts that Spark's CSV reader takes for a value of a type, as far as proposals need to know.
_READS: Mapping[str, str] = {
    "boolean": "(?i)true|false",
    "int": r"[+-]?\d{1,10}",
    "bigint": r"[+-]?\d{1,19}",
    "double": rf"{_NUMBER}|NaN",
    "float": rf"{_NUMBER}|NaN",
    "date": _DATE,
    "timestamp": f"{_DATE}({_TIME})?",
}
# Narrower: a number with leading zeros or too many digits is a code, which is text.
_SUGGESTS: Mapping[str, str] = {
    "boolean": _READS["boolean"],
    "bigint": r"-?(0|[1-9]\d{0,17})",
    "double": r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?",
    "date": _DATE,
    "timestamp": f"{_DATE}{_TIME}",
}


@dataclass(frozen=True)
class Sample:
    """``types``: Spark type by column, in the order of the table (CSV: all text). ``options``: reader options
    that these files need. ``rows``: what was looked at, each column under its name. ``total``: rows in all
    files, None where that is not known without reading them."""

    format: str
    files: tuple[InputFile, ...]
    options: Mapping[str, Any]
    types: Mapping[str, DataType]
    rows: pa.Table
    total: int | None


def look(path: str, files: tuple[InputFile, ...], wanted: Iterable[str] = ()) -> Sample:
    """Look at the headers or footers of all ``files``, and at some rows of some.

    Args:
        path: the folder, file or glob that means ``files``.
        wanted: column names that are expected; of several separators the one that gives most of them is right.

    Raises:
        InputUnavailable: empty or unreadable files.
        ConfigInvalid: files that differ in their columns, a header that is none, a type that Spark cannot read.
    """
    parquet = any(_is_parquet(f) for f in files)
    found = _parquet(files, _base(path)) if parquet else _csv(files, {folded(w) for w in wanted})
    if not len(found.rows):
        raise InputUnavailable(
            f"the sample {path!r} has {len(files)} file(s) but no rows.",
            hint="Give the path of a day that has some.",
        )
    return found


def folded(name: str) -> str:
    """A name without what people spell differently: case, underscores, spaces, dashes and dots."""
    return re.sub(r"[\s_.\-]", "", name.casefold())


def is_unique(values: pa.ChunkedArray) -> bool:
    """Whether no value is missing and none occurs twice."""
    return bool(len(values)) and not values.null_count and len(pc.unique(values)) == len(values)


def finite_range(values: pa.ChunkedArray) -> tuple[float, float] | None:
    """Least and largest finite number, texts read as numbers; None where there is none."""
    if pa.types.is_string(values.type):
        values = values.filter(_matches(values, _NUMBER))
    elif not any(
        test(values.type) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    ):
        return None
    numbers = pc.cast(values, pa.float64(), safe=False)
    found = pc.min_max(numbers.filter(pc.is_finite(numbers)))
    return None if found["min"].as_py() is None else (found["min"].as_py(), found["max"].as_py())


def suggested_type(texts: pa.ChunkedArray) -> str | None:
    """The Spark type as which all texts of a CSV column read, None for text or where there are none."""
    present = texts.drop_null()
    if not len(present):
        return None
    return next((kind for kind, form in _SUGGESTS.items() if pc.all(_matches(present, form)).as_py()), None)


def unreadable(texts: pa.ChunkedArray, kind: str) -> list[str]:
    """The texts that the CSV reader cannot read as a column of Spark type ``kind``."""
    present = texts.drop_null()
    if kind not in _READS:
        return []
    found: list[str] = present.filter(pc.invert(_matches(present, _READS[kind]))).to_pylist()
    return found


def _matches(texts: pa.ChunkedArray, form: str) -> pa.ChunkedArray:
    return pc.match_substring_regex(
        texts, f"^({form})$" if not form.startswith("(?i)") else f"(?i)^({form[4:]})$"
    )


def _is_parquet(file: InputFile) -> bool:
    try:
        with open(file.path, "rb") as content:
            return content.read(4) == b"PAR1"
    except OSError as error:
        raise InputUnavailable(f"{file.path}: cannot be read ({error}).", hint="Check the file.") from error


def _spread(files: Sequence[InputFile]) -> Sequence[InputFile]:
    """Some files from all over a long list."""
    filled = [f for f in files if f.size > 0]
    return filled[:: max(1, -(-len(filled) // FILES))]


def _base(path: str) -> Path | None:
    """Below which folder names such as ``region=eu`` make columns: a folder, or a glob up to its first wildcard."""
    if Path(path).is_dir():
        return Path(path).absolute()
    if not has_magic(path) or Path(path).exists():
        return None
    return Path(*takewhile(lambda part: not has_magic(part), Path(path).absolute().parts))


def _parquet(files: tuple[InputFile, ...], base: Path | None) -> Sample:
    footers = parquet_files.check(files)
    names, total = footers.schema.names, footers.rows
    schema = pq.read_schema(files[0].path)
    types = {n: _spark_type(schema.field(n).type, n) for n in names}
    chosen = _spread(files)
    rows = [_first_rows(f, schema, ROWS // len(chosen)) for f in chosen]
    tables = [_with_folders(r, f, base, types) for r, f in zip(rows, chosen, strict=True)]
    folders = {n: StringType() for n in tables[0].schema.names if n not in types}
    return Sample("parquet", files, {}, {**types, **folders}, pa.concat_tables(tables), total)


def _first_rows(file: InputFile, schema: pa.Schema, most: int) -> pa.Table:
    with pq.ParquetFile(file.path) as content:
        batches = list(islice(content.iter_batches(batch_size=most), 1))
        rows = pa.Table.from_batches(batches, schema=batches[0].schema if batches else content.schema_arrow)
    return rows.select(schema.names).cast(schema)


def _with_folders(
    rows: pa.Table, file: InputFile, base: Path | None, types: Mapping[str, DataType]
) -> pa.Table:
    inside = Path(file.path).relative_to(base).parts[:-1] if base else ()
    for part in inside:
        name, sign, text = part.partition("=")
        if sign and name not in types:
            rows = rows.append_column(name, pa.array([text] * len(rows), pa.string()))
    return rows


def _spark_type(kind: pa.DataType, name: str) -> DataType:
    """The type as which Spark reads a Parquet column."""
    if pa.types.is_unsigned_integer(kind):
        return _UNSIGNED[kind.bit_width]
    try:
        if pa.types.is_timestamp(kind) and kind.unit == "ns":
            raise PySparkTypeError("nanoseconds")
        return from_arrow_type(kind, prefer_timestamp_ntz=True)
    except PySparkException as error:
        raise ConfigInvalid(
            f"source: column {name!r} is {kind}, which Spark cannot read from Parquet.",
            hint="Write it as another type (times: in microseconds, coerce_timestamps='us' in pandas and pyarrow).",
        ) from error


def _csv(files: tuple[InputFile, ...], wanted: set[str]) -> Sample:
    separator, names = _separated(files, wanted)
    chosen = _spread(files)
    most = ROWS // len(chosen)
    tables = [_first_records(f, names, separator, most) for f in chosen]
    rows = pa.concat_tables(tables)
    options: dict[str, Any] = {} if separator == "," else {"sep": separator}
    if any(pc.any(pc.match_substring_regex(column, r"[\r\n]")).as_py() for column in rows.columns):
        options["multiLine"] = True
    whole = len(chosen) == sum(f.size > 0 for f in files) and all(len(t) < most for t in tables)
    return Sample("csv", files, options, {n: StringType() for n in names}, rows, len(rows) if whole else None)


def _separated(files: tuple[InputFile, ...], wanted: set[str]) -> tuple[str, list[str]]:
    """The separator, and the names in the header line that all files share."""
    first = [f for f in files if f.size > 0][:1]
    known = {s: {folded(n) for n in _header(first, s)} for s in _SEPARATORS} if first else {}
    best = max(_SEPARATORS, key=lambda s: (len(wanted & known.get(s, set())), len(known.get(s, ()))))
    separator = best if known else ","
    return separator, _header(files, separator)


def _header(files: Sequence[InputFile], separator: str) -> list[str]:
    return csv_files.columns(files, csv_files.options({"sep": separator}, has_header=True), None)


def _first_records(file: InputFile, names: Sequence[str], separator: str, most: int) -> pa.Table:
    """The first records as text; those with another number of fields are passed over."""
    try:
        with pa_csv.open_csv(
            file.path,
            pa_csv.ReadOptions(block_size=2**22, column_names=list(names), skip_rows_after_names=1),
            pa_csv.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=lambda _: "skip"
            ),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        ) as reader:
            return pa.Table.from_batches(_until(reader, most), schema=reader.schema)
    except (pa.ArrowException, OSError) as error:
        raise InputUnavailable(
            f"{file.path}: cannot be read as CSV ({error}).",
            hint="Expected UTF-8 text with a header line; convert the file, or write the configuration by hand.",
        ) from error


def _until(batches: Iterable[pa.RecordBatch], most: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.slice(0, most)
        most -= batch.num_rows
        if most <= 0:
            return
