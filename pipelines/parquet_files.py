"""What Parquet footers say: row counts, and columns on which all files agree."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import ConfigInvalid, InputUnavailable
from pipelines.records import InputFile


def check(files: Sequence[InputFile]) -> tuple[list[str], int]:
    """The names of the columns, and the number of rows in all files together, from their footers.

    Raises:
        InputUnavailable: a file is empty or is not Parquet.
        ConfigInvalid: two files have different columns or types; Spark would read what is missing as NULL.
    """
    with ThreadPoolExecutor(8) as pool:
        footers = list(pool.map(_footer, files))
    first, rows = footers[0]
    for file, (schema, _) in zip(files[1:], footers[1:], strict=True):
        if differences := _differences(first, schema):
            raise ConfigInvalid(
                f"{file.path}: differs from {files[0].path}: {'; '.join(differences)}.",
                hint="Files of one run must have the same columns and types; run them apart or rewrite them.",
            )
    return first.names, rows + sum(n for _, n in footers[1:])


def _footer(file: InputFile) -> tuple[pa.Schema, int]:
    try:
        metadata = pq.read_metadata(file.path)
        return metadata.schema.to_arrow_schema(), metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        size = "is empty (zero bytes)" if file.size == 0 else f"is not readable as Parquet ({error})"
        raise InputUnavailable(
            f"{file.path}: {size}.", hint="Write the file again, then run again."
        ) from error


def _differences(first: pa.Schema, other: pa.Schema) -> list[str]:
    mine, theirs = ({f.name: _plain(f.type) for f in s} for s in (first, other))
    return (
        [f"column {n!r} is missing" for n in mine if n not in theirs]
        + [f"column {n!r} is new" for n in theirs if n not in mine]
        + [f"column {n!r} is {theirs[n]}, not {t}" for n, t in mine.items() if n in theirs and theirs[n] != t]
    )


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without how its writer held it in memory: Spark reads these alike."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        return pa.string() if pa.types.is_large_string(kind) else pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind
