"""Mark each row with the rules it breaks, and split once: scored and quarantined are disjoint and exhaustive.

One write makes both tables. Its files all have the predictions' schema; a quarantined row travels in the
``model_id`` column as JSON (see docs/adr/0002-one-write-two-tables.md) and is unpacked by a small job of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, LongType, StringType, StructField, StructType

from pipelines.json_values import decode, encode, json_type
from pipelines.records import ModelColumn
from pipelines.rules import (
    RowRule,
    broken,
    broken_names,
    column,
    guard,
    mask_columns,
    masks_needed,
)

OUTCOME = "scoreline_outcome"
SCORED, QUARANTINED = "scored", "quarantined"
RESERVED = ("model_id", "timestamp", "run_id", "run_date", OUTCOME)
_OURS = ("raw_record", "source_file", "stage", "reasons", "model_id", "run_id", "run_date")
_RAW, _FILE, _ERROR, _ROW = "__raw", "__file", "__error", "__record"
_JSON = {
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
    "ignoreNullFields": "true",
}


@dataclass(frozen=True)
class Screen:
    """The names that a plan uses: source columns, rules before and after the model, prediction columns."""

    schema: StructType
    before: tuple[RowRule, ...]
    after: tuple[RowRule, ...]
    kept: tuple[str, ...]
    outputs: tuple[ModelColumn, ...]

    @property
    def masks(self) -> list[str]:
        return [f"__mask{i}" for i in range(masks_needed(self.before))]

    @property
    def output_masks(self) -> list[str]:
        return [f"__after{i}" for i in range(masks_needed(self.after))]


def set_aside(frame: DataFrame, screen: Screen) -> DataFrame:
    """Keep what was read as ``__record``, and make every value of an unreadable record NULL, so that an aggregate
    over the table ignores it. The frame is marked already: NULL breaks other rules than what was read."""
    readable = F.col(screen.masks[0]).bitwiseAND(F.lit(1)) == 0  # the first rule is UNREADABLE
    public = [F.when(readable, column(n)).alias(n) for n in screen.schema.names]
    return frame.select(_row(screen), *public, _RAW, _FILE, *screen.masks)


def mark(frame: DataFrame, screen: Screen) -> DataFrame:
    """Add the mask columns of the rules on inputs."""
    masks = zip(screen.masks, mask_columns(screen.before), strict=True)
    marked = frame.select("*", *(mask.alias(name) for name, mask in masks))
    guarded = guard([F.col(m) for m in screen.masks], screen.before)
    rest = [column(n) for n in frame.columns]
    return marked.select(*rest, *(mask.alias(name) for name, mask in zip(screen.masks, guarded, strict=True)))


def flatten(frame: DataFrame, screen: Screen, scored: str) -> DataFrame:
    """What was read as one struct ``__record``, and beside it the table of predictions: key and carried columns
    and outputs, all NULL where there is no prediction.

    One struct passes the operators behind it as one block of bytes, where columns are copied one by one.
    """
    predicted = (
        ~broken([F.col(m) for m in screen.masks], screen.before) & F.col(f"{scored}.{_ERROR}").isNull()
    )
    record = F.col(_ROW) if _ROW in frame.columns else _row(screen)
    kept = [F.when(predicted, column(n)).alias(n) for n in screen.kept]
    outputs = [F.when(predicted, F.col(scored).getField(c.name)).alias(c.name) for c in screen.outputs]
    state = [F.col(f"{scored}.{_ERROR}").alias(_ERROR), F.col(f"{scored}.__state").alias("__state")]
    return frame.select(record, *screen.masks, *state, predicted.alias("__predicted"), *kept, *outputs)


def mark_outputs(frame: DataFrame, screen: Screen) -> DataFrame:
    """Add the mask columns of the rules on predictions; rows without one break none."""
    masks = zip(screen.output_masks, mask_columns(screen.after), strict=True)
    return frame.select(
        "*", *(F.when(F.col("__predicted"), m).otherwise(F.lit(0)).alias(n) for n, m in masks)
    )


def split(frame: DataFrame, screen: Screen, model_id: str, timestamp: Column) -> DataFrame:
    """The frame to write: predictions, ``model_id``, ``timestamp`` and the outcome of each row."""
    refused = broken([F.col(m) for m in screen.output_masks], screen.after)
    scored = F.col("__predicted") & ~refused
    envelope = F.to_json(F.struct(*_envelope(screen)), _JSON)
    return frame.select(
        *(column(n) for n in screen.kept),
        *(column(c.name) for c in screen.outputs),
        F.when(scored, F.lit(model_id)).otherwise(envelope).alias("model_id"),
        timestamp.alias("timestamp"),
        F.when(scored, F.lit(SCORED)).otherwise(F.lit(QUARANTINED)).alias(OUTCOME),
    )


def unpack(spark: SparkSession, path: str | None, screen: Screen, model_id: str) -> DataFrame:
    """The quarantine table from what :func:`split` wrote for quarantined rows; empty without a path."""
    fields = [StructField(f"__s{i}", json_type(t)) for i, t in enumerate(_types(screen))]
    fields.append(StructField(_ERROR, StringType()))
    fields += [StructField(m, LongType()) for m in (*screen.masks, *screen.output_masks)]
    row = F.from_json(F.col("model_id"), StructType(fields), _JSON)
    packed = (
        spark.read.schema("model_id string").parquet(path)
        if path
        else spark.createDataFrame([], "model_id string")
    )
    frame = packed.select(row.alias("r"))
    before = [F.coalesce(F.col(f"r.{m}"), F.lit(0)) for m in screen.masks]
    after = [F.coalesce(F.col(f"r.{m}"), F.lit(0)) for m in screen.output_masks]
    return frame.select(
        *_restored(screen), *_reasons(screen, before, after), F.lit(model_id).alias("model_id")
    )


def _reasons(screen: Screen, before: list[Column], after: list[Column]) -> list[Column]:
    error = F.col(f"r.{_ERROR}")
    reading = tuple(r for r in screen.before if r.stage == "read")
    stage = (
        F.when(broken(before, _only(screen.before, reading)), "read")
        .when(broken(before, screen.before), "input")
        .when(error.isNotNull(), "predict")
        .otherwise("output")
    )
    names = F.concat(
        broken_names(before, screen.before),
        F.array_compact(F.array(error)),
        broken_names(after, screen.after),
    )
    return [stage.alias("stage"), names.alias("reasons")]


def _only(rules: Sequence[RowRule], wanted: Sequence[RowRule]) -> list[RowRule]:
    """The same rules at the same bits, critical only where they are among ``wanted``."""
    return [RowRule(r.name, r.stage, r.predicate, r.critical and r in wanted) for r in rules]


def quarantine_schema(screen: Screen) -> StructType:
    """The columns of the quarantine table: the source's, then ours; a source column called like one of ours gets
    ``input_`` before its name."""
    taken = {*_OURS, *(n.casefold() for n in screen.schema.names)}
    fields = [
        StructField(_unlike(f.name, taken) if f.name.casefold() in _OURS else f.name, f.dataType)
        for f in screen.schema.fields
    ]
    ours = [StructField(n, StringType()) for n in ("raw_record", "source_file", "stage")]
    return StructType(
        [
            *fields,
            *ours,
            StructField("reasons", ArrayType(StringType())),
            StructField("model_id", StringType()),
        ]
    )


def _restored(screen: Screen) -> list[Column]:
    named = zip(screen.schema.fields, quarantine_schema(screen).names, strict=False)
    restored = [decode(F.col(f"r.__s{i}"), f.dataType).alias(n) for i, (f, n) in enumerate(named)]
    count = len(screen.schema.fields)
    raw, file = F.col(f"r.__s{count}"), F.col(f"r.__s{count + 1}")
    return [*restored, raw.alias("raw_record"), file.alias("source_file")]


def _unlike(name: str, taken: set[str]) -> str:
    """``name`` with as many ``input_`` before it as it takes to be new."""
    return name if name.casefold() not in taken else _unlike(f"input_{name}", taken)


def _envelope(screen: Screen) -> list[Column]:
    columns = [encode(F.col(f"{_ROW}.__s{i}"), t).alias(f"__s{i}") for i, t in enumerate(_types(screen))]
    return [*columns, F.col(_ERROR), *(F.col(m) for m in (*screen.masks, *screen.output_masks))]


def _row(screen: Screen) -> Column:
    return F.struct(*(column(n).alias(f"__s{i}") for i, n in enumerate(_names(screen)))).alias(_ROW)


def _names(screen: Screen) -> list[str]:
    return [*screen.schema.names, _RAW, _FILE]


def _types(screen: Screen) -> list[DataType]:
    return [*(f.dataType for f in screen.schema.fields), StringType(), StringType()]
