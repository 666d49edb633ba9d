"""How a worker's files are encoded: a dictionary where values repeat, plain values where they do not."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_LOOKED_AT = 1024  # values of the first batch


def writer(path: Path, first: pa.RecordBatch) -> pq.ParquetWriter:
    """A writer for batches like ``first``.

    Which columns have a dictionary follows from ``first`` alone, so that the same rows make the same bytes. A
    dictionary of keys, none of which comes twice, would double the work of writing and make the file larger.
    """
    repeating = [
        name for name, array in zip(first.schema.names, first.columns, strict=True) if _repeats(array)
    ]
    return pq.ParquetWriter(
        path, first.schema, compression="snappy", store_schema=False, use_dictionary=repeating
    )


def _repeats(array: pa.Array) -> bool:
    """Whether at least half of the values are ones seen before; of lists, which nobody has counted, no."""
    if pa.types.is_nested(array.type):
        return False
    if pa.types.is_dictionary(array.type):
        return True
    sample = array.slice(0, _LOOKED_AT)
    return len(sample) == 1 or 2 * len(sample.unique()) <= len(sample)
