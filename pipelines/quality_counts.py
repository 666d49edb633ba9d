"""From labelled predictions to the counts of each slice: all sums are Spark's, the driver gets a few rows per slice.

Memory does not grow with the rows: a confusion matrix has at most 1,000 by 1,000 cells, an expression at most 100
slices, and the ranks of probabilities are summed in one sorted stream per slice and class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from pipelines.errors import ConfigInvalid
from pipelines.profiles.slices import VALUES
from pipelines.quality_metrics import BINS, EPSILON, Counts, Errors, Ranks

CLASSES = 1000  # most classes
PREDICTION, LABEL, PROBABILITY = "prediction", "label", "probability"
_SLICE = ("slice_key", "slice_value")
Slice = tuple[str | None, str | None]


def usable_slices(predictions: DataFrame, expressions: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The expressions that the published predictions can be cut by, and why each of the others cannot."""
    usable, skipped = [], {}
    for text in expressions:
        try:
            values = predictions.select(F.expr(text).cast("string").alias("value"))
            _ = values.schema  # a Connect client asks only now
        except AnalysisException as error:
            skipped[text] = (
                "it uses columns that the predictions do not have (source.carry brings them there)"
                if "UNRESOLVED_COLUMN" in (error.getCondition() or "")
                else str(error).splitlines()[0]
            )
            continue
        if values.distinct().limit(VALUES + 1).count() > VALUES:
            skipped[text] = f"it has more than {VALUES} values"
        else:
            usable.append(text)
    return usable, skipped


def slice_column(expressions: Sequence[str]) -> Column:
    """All slices that a row belongs to, the whole table first, as an array of (key, value)."""
    pairs = [(F.lit(None), F.lit(None)), *((F.lit(e), F.expr(e)) for e in expressions)]
    return F.array(
        *(F.struct(*(v.cast("string").alias(n) for v, n in zip(p, _SLICE, strict=True))) for p in pairs)
    )


def classes_of(
    predictions: DataFrame, labels: DataFrame, given: Sequence[str]
) -> tuple[tuple[Any, ...] | None, str | None]:
    """Which class each probability belongs to, by what is published and labelled; or None, and why it is not known.

    Args:
        predictions: columns ``prediction`` and ``probability``.
        labels: column ``label``, of the prediction's type.
        given: the classes in the model's order, as text; empty where they are to be found.
    """
    best = F.array_position(PROBABILITY, F.array_max(PROBABILITY)).cast("int") - 1
    pairs = predictions.select(F.size(PROBABILITY).alias("n"), best.alias("i"), PREDICTION)
    seen = pairs.distinct().limit(CLASSES + 1).collect()
    widths = {row["n"] for row in seen}
    by_index = {row["i"]: row[PREDICTION] for row in seen}
    if len(widths) != 1 or len(by_index) < len(seen):
        return None, "the predictions are not the most probable classes"
    width = widths.pop()
    known = sorted({*by_index.values(), *(r[0] for r in labels.distinct().limit(CLASSES + 1).collect())})
    if given:
        known = [_value(text, known[0]) for text in given]
    if len(by_index) == width:
        known = [by_index[i] for i in range(width)]
    if len(known) != width:
        return None, f"found {len(known)} classes for {width} probabilities; name them with --classes"
    if any(known[i] != value for i, value in by_index.items()):
        return None, f"the probabilities are not in the order of the classes {', '.join(map(str, known))}"
    return tuple(known), None


def _value(written: str, like: Any) -> Any:
    """A class as the values it stands among: text, a whole number, a number or a truth value."""
    try:
        return written.lower() == "true" if isinstance(like, bool) else type(like)(written)
    except ValueError:
        raise ConfigInvalid(
            f"--classes: found {written!r}, expected values such as {like!r}.",
            hint="Give the classes in the model's order, separated by commas.",
        ) from None


def of_classes(frame: DataFrame, classes: Sequence[Any] | None) -> list[Counts]:
    """Counts of a classification by slice.

    Args:
        frame: ``slices`` (from :func:`slice_column`), ``prediction``, ``label`` of the same type and, where
            ``classes`` are given, ``probability``.

    Raises:
        ConfigInvalid: more than 1,000 classes.
    """
    if frame.select(LABEL).distinct().limit(CLASSES + 1).count() > CLASSES:
        raise ConfigInvalid(
            f"labels: found more than {CLASSES} classes.",
            hint="For numbers that are measured, give --problem-type regression.",
        )
    cut = _cut(frame)
    confusion: dict[Slice, dict[tuple[Any, Any], int]] = {}
    for row in cut.groupBy(*_SLICE, PREDICTION, LABEL).count().collect():
        confusion.setdefault(_slice(row), {})[row[PREDICTION], row[LABEL]] = row["count"]
    losses, bins, ranks = _of_probabilities(cut, classes) if classes else ({}, {}, {})
    return [
        Counts(
            rows=sum(cells.values()),
            slice_key=part[0],
            slice_value=part[1],
            confusion=cells,
            loss=losses.get(part),
            ranks=ranks.get(part, {}),
            bins=bins.get(part, {}),
        )
        for part, cells in confusion.items()
    ]


def _of_probabilities(cut: DataFrame, classes: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Loss, bins and ranks by slice."""
    order = F.array(*(F.lit(c) for c in classes)).cast(f"array<{dict(cut.dtypes)[LABEL]}>")
    index = F.array_position(order, F.col(LABEL)).cast("int")
    numbered = cut.withColumn("index", index)
    losses, bins = _losses_and_bins(numbered, len(classes))
    return losses, bins, _ranks(numbered, classes)


def _losses_and_bins(
    numbered: DataFrame, width: int
) -> tuple[dict[Slice, float | None], dict[Slice, dict[int, tuple[int, float, int]]]]:
    """The sum of the logarithms (None where a label is none of the classes: nobody knows its probability), and the
    bins of the calibration."""
    known = F.col("index") > 0
    likely = F.when(known, F.get(PROBABILITY, F.col("index") - 1))
    clipped = F.least(F.greatest(likely, F.lit(EPSILON)), F.lit(1 - EPSILON))
    if width == 2:
        confidence, right = F.get(PROBABILITY, F.lit(1)), F.col("index") == 2
    else:
        confidence, right = F.array_max(PROBABILITY), F.col(PREDICTION) == F.col(LABEL)
    number = F.least(F.greatest(F.ceil(confidence * BINS) - 1, F.lit(0)), F.lit(BINS - 1)).cast("int")
    rows = numbered.groupBy(*_SLICE, number.alias("bin")).agg(
        F.count(F.lit(1)).alias("n"),
        F.sum(confidence).alias("total"),
        F.count_if(right).alias("right"),
        F.sum(F.when(known, -F.ln(clipped)).otherwise(float("nan"))).alias("loss"),
    )
    losses: dict[Slice, float | None] = {}
    bins: dict[Slice, dict[int, tuple[int, float, int]]] = {}
    for r in sorted(rows.collect(), key=lambda r: r["bin"]):
        losses[_slice(r)] = (losses.get(_slice(r)) or 0.0) + r["loss"]
        bins.setdefault(_slice(r), {})[r["bin"]] = (r["n"], r["total"], r["right"])
    return {part: None if isnan(loss or 0.0) else loss for part, loss in losses.items()}, bins


def _ranks(numbered: DataFrame, classes: Sequence[Any]) -> dict[Slice, dict[Any, Ranks]]:
    """Rows are counted by probability first; a running sum over the sorted ones then gives U in whole numbers."""
    each = numbered.select(*_SLICE, "index", F.posexplode(PROBABILITY).alias("class", "score"))
    ours = F.col("index") == F.col("class") + 1
    by_score = each.groupBy(*_SLICE, "class", "score").agg(
        F.count_if(ours).alias("ours"), F.count_if(~ours).alias("others")
    )
    below = Window.partitionBy(*_SLICE, "class").orderBy("score").rowsBetween(Window.unboundedPreceding, -1)
    pairs = 2 * F.coalesce(F.sum("others").over(below), F.lit(0)) + F.col("others")
    product = (F.col("ours").cast("decimal(18,0)") * pairs.cast("decimal(19,0)")).cast("decimal(38,0)")
    ranked = by_score.withColumn("twice_u", product).groupBy(*_SLICE, "class")
    rows = ranked.agg(
        F.sum("ours").alias("p"), F.sum("others").alias("n"), F.sum("twice_u").alias("u")
    ).collect()
    found: dict[Slice, dict[Any, Ranks]] = {}
    for r in rows:
        found.setdefault(_slice(r), {})[classes[r["class"]]] = Ranks(r["p"], r["n"], int(r["u"]))
    return found


def of_numbers(frame: DataFrame) -> list[Counts]:
    """Counts of a regression by slice: ``slices``, and ``prediction`` and ``label`` as double."""
    error = F.col(LABEL) - F.col(PREDICTION)
    relative = F.abs(error) / F.greatest(F.abs(F.col(LABEL)), F.lit(EPSILON))
    rows = _cut(frame).groupBy(*_SLICE).agg(
        F.count(F.lit(1)).alias("n"),
        F.sum(error * error).alias("squared"),
        F.sum(F.abs(error)).alias("absolute"),
        F.sum(relative).alias("relative"),
        (F.var_pop(LABEL) * F.count(F.lit(1))).alias("deviation"),
    )  # fmt: skip
    return [
        Counts(
            rows=r["n"],
            slice_key=r["slice_key"],
            slice_value=r["slice_value"],
            errors=Errors(r["squared"], r["absolute"], r["relative"], r["deviation"]),
        )
        for r in rows.collect()
    ]


def _cut(frame: DataFrame) -> DataFrame:
    return frame.withColumn("slice", F.explode("slices")).select("*", "slice.*").drop("slices", "slice")


def _slice(row: Mapping[str, Any] | Any) -> Slice:
    return row["slice_key"], row["slice_value"]
