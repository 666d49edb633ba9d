"""The columns of a Parquet file as Spark types them, where that needs no asking: Spark's own answer is a job, which
takes a second or two of a cold run."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow.parquet as pq

_NOTE = b"org.apache.spark.sql.parquet.row.metadata"  # what Spark writes of its own schema, and goes by
_NOTED = frozenset(("boolean", "integer", "long", "float", "double", "string", "date", "timestamp"))
# By physical and logical type: the older "converted" type says nothing of nanoseconds and of times without a zone.
_PLAIN: Mapping[tuple[str, str], str] = {
    ("BOOLEAN", "NONE"): "boolean",
    ("INT32", "NONE"): "integer",
    ("INT64", "NONE"): "long",
    ("FLOAT", "NONE"): "float",
    ("DOUBLE", "NONE"): "double",
    ("BYTE_ARRAY", "STRING"): "string",
    ("INT32", "DATE"): "date",
}

Types = tuple[tuple[str, str], ...]


def spark_types(metadata: pq.FileMetaData) -> Types | None:
    """Name and Spark type (as Spark's JSON has it) of each column; None where settings, nesting or an older writer have
    a say in one of them."""
    columns = [metadata.schema.column(i) for i in range(metadata.num_columns)]
    noted = (metadata.metadata or {}).get(_NOTE)
    if noted is None:
        found = [(c.name, _PLAIN.get((c.physical_type, c.logical_type.type))) for c in columns]
    else:
        found = _noted(noted)
    nested = any(c.max_repetition_level or c.path != c.name for c in columns)
    alike = len({n.lower() for n, _ in found}) < len(found)  # Spark refuses these, in its own words
    if nested or alike or len(found) != len(columns):
        return None
    plain = tuple((name, kind) for name, kind in found if kind is not None)
    return plain if len(plain) == len(found) else None


def _noted(note: bytes) -> list[tuple[str, str | None]]:
    """Name and plain type of each column of Spark's note; nothing of a note in another form, as early versions left."""
    try:
        fields = json.loads(note)["fields"]
        return [(f["name"], None if f["metadata"] else _plain(f["type"])) for f in fields]
    except (ValueError, KeyError, TypeError):
        return []


def _plain(kind: object) -> str | None:
    return kind if isinstance(kind, str) and kind in _NOTED else None
