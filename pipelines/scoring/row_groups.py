"""A worker reads row groups of Parquet, in batches of a bounded size whatever their texts and dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.scoring.units import Piece

_BATCH_BYTES, _OF_COLUMN, _LARGEST_BATCH = 8 << 20, 80_000, 32 << 20
_FEWEST, _MOST = 1024, 65_536
_TEXT, _PROBE, _LARGEST = 16, 256, 256 << 20  # bytes, rows, bytes


def batches(schema: pa.Schema, piece: Piece) -> Iterator[dict[str, pa.Array]]:
    """The source's columns, in the types that Spark gives them."""
    names, groups = schema.names, list(piece.groups)
    with pq.ParquetFile(piece.path, page_checksum_verification=True) as file:
        size = batch_size(schema)
        if any(map(_varies, schema.types)):  # how long texts are only the data know
            probe = file.iter_batches(_PROBE, row_groups=groups[:1], columns=names, use_threads=False)
            size = min(size, *(rows_for(_room(schema), b) for b in islice(probe, 1)))
        for run, rows in _runs(groups, file.metadata, size):
            read = file.iter_batches(evenly(rows, size), row_groups=run, columns=names, use_threads=False)
            for part in chain.from_iterable(map(_slices, read)):
                found = dict(zip(part.schema.names, part.columns, strict=True))
                yield {f.name: typed(found[f.name], f.type) for f in schema}


def _runs(groups: list[int], footer: pq.FileMetaData, least: int) -> Iterator[tuple[list[int], int]]:
    """Row groups that are read together, with their rows: each alone, as all bytes of those that are read together are
    held at the same time, but small ones until they have ``least`` rows."""
    run: list[int] = []
    rows = 0
    for group in groups:
        run.append(group)
        rows += footer.row_group(group).num_rows
        if rows >= least or group == groups[-1]:
            yield run, rows
            run, rows = [], 0


def batch_size(schema: pa.Schema) -> int:
    """Rows of about 8 MB, of up to 32 where there are many columns; texts counted as a few bytes."""
    width = sum(_TEXT if _varies(kind) else kind.bit_width / 8 for kind in schema.types)
    return int(np.clip(_room(schema) / width, _FEWEST, _MOST))


def _room(schema: pa.Schema) -> int:
    """Bytes of a batch; of many columns more, as each column of a batch has a price of its own."""
    return int(np.clip(_OF_COLUMN * len(schema), _BATCH_BYTES, _LARGEST_BATCH))


def evenly(rows: int, about: int) -> int:
    """Rows of a batch, at most half as many again as ``about``, so that all are alike: a batch has a price of its
    own, which with a forest is a call for each tree."""
    batches = max(1, round(rows / about))
    return max(1, -(-rows // batches))


def rows_for(room: int, batch: pa.RecordBatch) -> int:
    """How many rows like those of ``batch`` are ``room`` bytes once dictionaries are resolved, at least one."""
    width = sum(_decoded(array) for array in batch.columns) / max(batch.num_rows, 1)
    return int(np.clip(room / max(width, 1), 1, _MOST))


def _varies(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_binary(kind)


def _decoded(array: pa.Array) -> int:
    """At most how many bytes the values take without a dictionary."""
    if not pa.types.is_dictionary(array.type):
        return int(array.nbytes)
    longest = pc.max(pc.binary_length(array.dictionary)).as_py() if len(array.dictionary) else 0
    return len(array) * (int(longest or 0) + 4)


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch in parts that stay far below the 2 GB that an array of texts can address."""
    step = rows_for(_LARGEST, batch)
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def typed(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return array if array.type == kind else array.cast(kind)
