"""Published predictions beside their labels, and the account of every row of both."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines import labels, quality_counts, session
from pipelines.attempt import Attempt
from pipelines.errors import ConfigInvalid, DataRefused, InputUnavailable, InvariantBroken
from pipelines.masking import MASK
from pipelines.quality_metrics import Problem
from pipelines.records import InputFile, plain
from pipelines.rules import column

_NUMBERS = ("float", "double")
_HAS = "__has_prediction"


@dataclass(frozen=True)
class Request:
    """What to evaluate with: ``path`` is a folder or a file of labels.

    ``time`` names the column that says when a label was made: the newest counts, else that of the last delivery.
    ``problem`` is found from the type of the predictions where it is None (float and double: regression).
    ``classes``, in the model's order, are needed only where they cannot be seen in predictions and labels.
    """

    path: str
    label: str = "label"
    time: str | None = None
    problem: Problem | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Joined:
    """Labelled predictions (``frame``, a part of ``kept``, which stays on disk until it is released), all
    predictions, and the account of all rows."""

    frame: DataFrame
    kept: DataFrame
    predictions: DataFrame
    problem: Problem
    rows: Mapping[str, int]
    labels: Mapping[str, int]
    conflicting: int


def join(
    attempt: Attempt,
    predictions: DataFrame,
    request: Request,
    files: Sequence[InputFile],
    slices: Sequence[str],
) -> Joined:
    """The newest label beside each prediction; the caller releases ``kept``.

    Args:
        predictions: as published.
        files: of labels, oldest delivery first.
        slices: expressions that resolve on the predictions.

    Raises:
        ConfigInvalid: a column is missing, or the predictions are lists.
        DataRefused: a key stands for several predictions.
        InputUnavailable: no prediction has a label.
        InvariantBroken: the delivered rows do not add up.
    """
    keys = attempt.config.source.key
    types = dict(predictions.dtypes)
    problem = _problem(types, keys, request)
    kind = "double" if problem == "regression" else types["prediction"]
    wanted = labels.Wanted({k: types[k] for k in keys}, request.label, request.time)
    delivered = labels.read(predictions.sparkSession, files, wanted)
    _refuse_repeated(attempt, predictions, keys)
    names = [labels.key_name(i) for i in range(len(keys))]
    own = predictions.select(
        *(column(k).alias(n) for k, n in zip(keys, names, strict=True)),
        F.col("prediction").cast(kind).alias("prediction"),
        *([F.col("probability")] if types.get("probability") == "array<double>" else []),
        quality_counts.slice_column(slices).alias("slices"),
        F.lit(True).alias(_HAS),
    )
    both = own.join(labels.newest(delivered, len(keys)), names, "full_outer")
    typed = labels.as_type(F.col(labels.LABEL), "string", kind)
    if kind == "double":  # a label that is no finite number says nothing
        typed = F.when(F.abs(typed) < float("inf"), typed)
    both = session.hold(both.withColumn("label", typed))
    try:
        rows, said, conflicting = _account(both, labels.counts(delivered, len(keys)))
        if not rows["labelled"]:
            raise InputUnavailable(
                f"labels: none of {said['read']} row(s) is the label of a published prediction: {json.dumps(said)}.",
                hint="Check that these are labels of this date, and the types of the key.",
            )
    except BaseException:
        session.release(both)
        raise
    if conflicting:
        attempt.warn(f"labels: {conflicting} key(s) have several labels in one delivery; the greatest counts")
    frame = both.where(F.col(_HAS) & F.col("label").isNotNull())
    return Joined(frame, both, predictions, problem, rows, said, conflicting)


def _problem(types: Mapping[str, str], keys: Sequence[str], request: Request) -> Problem:
    missing = [c for c in (*keys, "prediction") if c not in types]
    if missing:
        raise ConfigInvalid(
            f"predictions: found the columns {', '.join(types)}, expected {', '.join(missing)} as well.",
            hint="A date published with another configuration is published again with --force.",
        )
    kind = types["prediction"]
    if kind.startswith("array"):
        raise ConfigInvalid(
            f"predictions: found {kind}, expected one value per row to compare with a label.",
            hint="Use a model whose signature has one output, with predict or predict_proba.",
        )
    if request.problem == "regression" and not re.match(r"(tiny|small|big)?int|float|double|decimal", kind):
        raise ConfigInvalid(
            f"--problem-type regression: found predictions of type {kind}, expected numbers.",
            hint="Leave the option out.",
        )
    return request.problem or ("regression" if kind in _NUMBERS else "classification")


def _refuse_repeated(attempt: Attempt, predictions: DataFrame, keys: Sequence[str]) -> None:
    columns = [column(k) for k in keys]
    repeated = predictions.groupBy(*columns).count().where("count > 1").dropna(subset=list(keys))
    if examples := repeated.limit(3).collect():
        shown = [{k: MASK if attempt.masking.hides(k) else r[k] for k in keys} for r in examples]
        raise DataRefused(
            f"predictions: keys stand for several rows, such as {', '.join(json.dumps(plain(s)) for s in shown)}; "
            f"expected one row for each {', '.join(keys)}.",
            hint="Add columns to source.key until it is unique, and publish the date again with --force.",
        )


def _account(both: DataFrame, known: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int], int]:
    """Every prediction and every delivered row, by what became of it.

    Raises:
        InvariantBroken: the delivered rows do not add up.
    """
    matched, chosen = F.col(_HAS) & F.col(labels.ROWS).isNotNull(), F.col(labels.ROWS).isNotNull()
    held = F.col(labels.LABEL).isNotNull() & (F.trim(labels.LABEL) != "")
    found = both.agg(
        F.count(_HAS).alias("predictions"),
        F.count_if(matched & F.col("label").isNotNull()).alias("labelled"),
        F.count_if(matched & F.col("label").isNull() & held).alias("unreadable"),
        F.count_if(matched & F.col("label").isNull() & ~held).alias("empty"),
        F.count_if(chosen & F.col(_HAS).isNull()).alias("without_prediction"),
        F.coalesce(F.sum(F.col(labels.ROWS) - 1), F.lit(0)).alias("superseded"),
        F.count_if(labels.CONFLICT).alias("conflicting"),
    ).first()
    n: dict[str, int] = found.asDict() if found else {}
    rows = {"predictions": n["predictions"], "labelled": n["labelled"]}
    rows["unlabelled"] = n["predictions"] - n["labelled"]
    kinds = ("superseded", "without_prediction", "empty", "unreadable")
    said = {**known, **{k: n[k] for k in kinds}, "used": n["labelled"]}
    if said["read"] != sum(v for k, v in said.items() if k != "read"):
        raise InvariantBroken(
            f"labels: rows do not add up: {json.dumps(said)}.", hint="Did a file change while it was read?"
        )
    return rows, said, n["conflicting"]
