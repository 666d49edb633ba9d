"""What Parquet footers say: row counts, and columns on which all files agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.errors import ConfigInvalid, InputUnavailable
from pipelines.parquet_types import Types, spark_types
from pipelines.records import InputFile


@dataclass(frozen=True)
class RowGroup:
    """The ``number``-th row group of a file: its rows, and its bytes before compression."""

    path: str
    number: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class Footers:
    """``schema``: the columns on which all files agree, in the first one's order. ``legacy``: a file's writer may have
    counted days by the calendar before 1582, which Spark translates. ``types``: the columns as Spark types them, None
    where only Spark knows."""

    schema: pa.Schema
    groups: tuple[RowGroup, ...]
    legacy: bool = False
    types: Types | None = None

    @property
    def rows(self) -> int:
        return sum(g.rows for g in self.groups)

    @cached_property
    def _by_path(self) -> dict[str, list[RowGroup]]:
        found: dict[str, list[RowGroup]] = {}
        for group in self.groups:
            found.setdefault(group.path, []).append(group)
        return found

    def of(self, paths: Iterable[str]) -> Footers:
        """The same of some of the files; what it takes does not grow with the others."""
        groups = (g for path in paths for g in self._by_path.get(path, ()))
        return replace(self, groups=tuple(groups))


def check(files: Sequence[InputFile]) -> Footers:
    """What the footers of ``files`` say.

    Raises:
        InputUnavailable: a file is empty or is not Parquet.
        ConfigInvalid: two files have different columns or types; Spark would read what is missing as NULL.
    """
    footers = storage.each(_footer, files)
    first = footers[0].schema
    for file, schema in zip(files[1:], (f.schema for f in footers[1:]), strict=True):
        if not schema.equals(first) and (differences := _differences(first, schema)):
            raise ConfigInvalid(
                f"{file.path}: differs from {files[0].path}: {'; '.join(differences)}.",
                hint="Files of one run must have the same columns and types; run them apart or rewrite them.",
            )
    groups = tuple(g for f in footers for g in f.groups)
    types = {f.types for f in footers}
    return Footers(first, groups, any(f.legacy for f in footers), types.pop() if len(types) == 1 else None)


def _footer(file: InputFile) -> Footers:
    try:
        with storage.opened(file.path) as raw:
            metadata = pq.read_metadata(raw)
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        parts = tuple(RowGroup(file.path, i, g.num_rows, g.total_byte_size) for i, g in enumerate(groups))
        schema = metadata.schema.to_arrow_schema()
        return Footers(schema, parts, _legacy(metadata.metadata or {}), spark_types(metadata))
    except (pa.ArrowException, OSError) as error:
        size = "is empty (zero bytes)" if file.size == 0 else f"is not readable as Parquet ({error})"
        raise InputUnavailable(
            f"{file.path}: {size}.", hint="Write the file again, then run again."
        ) from error


def _legacy(notes: Mapping[bytes, bytes]) -> bool:
    """Whether Spark 2, or a later Spark told to write as Spark 2 did, has written the file."""
    if b"org.apache.spark.legacyDateTime" in notes or b"org.apache.spark.legacyINT96" in notes:
        return True
    return notes.get(b"org.apache.spark.version", b"3").split(b".")[0] in (b"1", b"2")


def _differences(first: pa.Schema, other: pa.Schema) -> list[str]:
    mine, theirs = ({f.name: plain(f.type) for f in s} for s in (first, other))
    return (
        [f"column {n!r} is missing" for n in mine if n not in theirs]
        + [f"column {n!r} is new" for n in theirs if n not in mine]
        + [f"column {n!r} is {theirs[n]}, not {t}" for n, t in mine.items() if n in theirs and theirs[n] != t]
    )


def plain(kind: pa.DataType) -> pa.DataType:
    """The type without how its writer held it in memory: Spark reads these alike."""
    if pa.types.is_dictionary(kind):
        return plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        return pa.string() if pa.types.is_large_string(kind) else pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(plain(kind.value_type))
    return kind
