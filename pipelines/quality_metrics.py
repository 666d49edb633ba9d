"""How good predictions were, from counts: ``quality_metrics``, in the columns of Databricks' inference profiles.

Everything is computed from sums that merge, so that no row is needed: accuracy, precision, recall and F1 are
scikit-learn's functions on the confusion matrix; the others agree with scikit-learn's up to the rounding of sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from math import sqrt
from typing import Any, Literal

import pyarrow as pa

from pipelines.metric_tables import GRANULARITY, PROFILE_METRICS, TABLE

Problem = Literal["classification", "regression"]
BINS = 10  # of the calibration: equal widths, (0, 0.1], (0.1, 0.2] and so on
EPSILON = 2.0**-52  # scikit-learn's floor for probabilities and for the denominator of the percentage error

_OF_CLASSES = pa.struct(
    [("one_vs_all", pa.map_(pa.string(), pa.float64())), ("macro", pa.float64()), ("weighted", pa.float64())]
)
_CELL = pa.struct([("prediction", pa.string()), ("label", pa.string()), ("count", pa.int64())])
_BIN = pa.struct(
    [
        ("lower", pa.float64()),
        ("upper", pa.float64()),
        ("count", pa.int64()),
        ("confidence", pa.float64()),
        ("share", pa.float64()),
    ]
)
QUALITY_METRICS = pa.schema(
    [
        PROFILE_METRICS.field("window"),
        ("log_type", pa.string()),
        ("logging_table_commit_version", pa.int32()),
        ("monitor_version", pa.int64()),
        ("granularity", pa.string()),
        ("slice_key", pa.string()),
        ("slice_value", pa.string()),
        ("column_name", pa.string()),
        ("count", pa.int64()),
        ("accuracy_score", pa.float64()),
        ("confusion_matrix", pa.list_(_CELL)),
        ("precision", _OF_CLASSES),
        ("recall", _OF_CLASSES),
        ("f1_score", _OF_CLASSES),
        ("log_loss", pa.float64()),
        ("roc_auc_score", _OF_CLASSES),
        ("mean_squared_error", pa.float64()),
        ("root_mean_squared_error", pa.float64()),
        ("mean_average_error", pa.float64()),
        ("mean_absolute_percentage_error", pa.float64()),
        ("r2_score", pa.float64()),
        ("model_id", pa.string()),
        ("problem_type", pa.string()),
        ("expected_calibration_error", pa.float64()),
        ("calibration", pa.list_(_BIN)),
    ]
)


@dataclass(frozen=True)
class Ranks:
    """One class against all others: rows that have it, rows that do not, and twice Mann and Whitney's U: over all
    pairs of the two, 2 where the row with the class has the greater probability and 1 where both have the same."""

    positives: int
    negatives: int
    twice_u: int

    @property
    def area(self) -> float | None:
        """Under the ROC curve (Hanley and McNeil 1982); None where one side has no rows."""
        pairs = self.positives * self.negatives
        return self.twice_u / (2 * pairs) if pairs else None


@dataclass(frozen=True)
class Errors:
    """Sums over rows of the squared, absolute and relative error, and of the label's squared deviation."""

    squared: float
    absolute: float
    relative: float
    deviation: float


@dataclass(frozen=True)
class Counts:
    """What is known of one slice; ``slice_key`` None is the whole table.

    ``confusion`` counts (prediction, label); ``loss`` is the sum of -ln(probability of the label); ``ranks`` is by
    class; ``bins`` has for each bin of the calibration its rows, the sum of their confidence, and those that
    were right.
    """

    rows: int
    slice_key: str | None = None
    slice_value: str | None = None
    confusion: Mapping[tuple[Any, Any], int] = field(default_factory=dict)
    loss: float | None = None
    ranks: Mapping[Any, Ranks] = field(default_factory=dict)
    bins: Mapping[int, tuple[int, float, int]] = field(default_factory=dict)
    errors: Errors | None = None


def quality_metrics(counts: Iterable[Counts], problem: Problem, *, run_date: date, model_id: str) -> pa.Table:
    """One row per slice, the whole table first. Figures that do not apply are null.

    ``roc_auc_score`` leaves out classes that no row, or every row, of the slice has as its label.
    """
    start = datetime.combine(run_date, time(), UTC)
    shared = {
        "window": {"start": start, "end": start + timedelta(days=1)},
        "log_type": "INPUT",
        "monitor_version": 0,
        "granularity": GRANULARITY,
        "column_name": TABLE,
        "model_id": model_id,
        "problem_type": problem,
    }
    figures = classification if problem == "classification" else regression
    rows = [
        shared | {"slice_key": c.slice_key, "slice_value": c.slice_value, "count": c.rows} | figures(c)
        for c in sorted(counts, key=_order)
    ]
    return pa.Table.from_pylist(rows, schema=QUALITY_METRICS)


def _order(counts: Counts) -> tuple[bool, str, bool, str]:
    key, value = counts.slice_key, counts.slice_value
    return key is not None, key or "", value is not None, value or ""


def regression(counts: Counts) -> dict[str, Any]:
    """Errors as :mod:`sklearn.metrics` defines them; R² is null below two rows."""
    if counts.errors is None or not counts.rows:
        return {}
    errors, n = counts.errors, counts.rows
    return {
        "mean_squared_error": errors.squared / n,
        "root_mean_squared_error": sqrt(errors.squared / n),
        "mean_average_error": errors.absolute / n,
        "mean_absolute_percentage_error": errors.relative / n,
        "r2_score": _r2(errors) if n > 1 else None,
    }


def _r2(errors: Errors) -> float:
    """scikit-learn's choice for labels that are all the same: 1 where nothing is wrong, else 0."""
    if errors.deviation == 0:
        return 1.0 if errors.squared == 0 else 0.0
    return 1 - errors.squared / errors.deviation


def classification(counts: Counts) -> dict[str, Any]:
    """scikit-learn's scores on the confusion matrix; those of probabilities where there are any."""
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    cells = counts.confusion
    values = sorted({value for cell in cells for value in cell})
    predicted = [values.index(p) for p, _ in cells]
    labels = [values.index(label) for _, label in cells]
    weights = list(cells.values())

    def scores(average: str | None) -> Sequence[Any]:
        found: Sequence[Any] = precision_recall_fscore_support(
            labels, predicted, average=average, sample_weight=weights, zero_division=0.0
        )
        return found

    each, macro, weighted = scores(None), scores("macro"), scores("weighted")
    names = [text(v) for v in values]
    by_name = {
        name: {
            "one_vs_all": list(zip(names, map(float, each[i]), strict=True)),
            "macro": float(macro[i]),
            "weighted": float(weighted[i]),
        }
        for i, name in enumerate(("precision", "recall", "f1_score"))
    }
    matrix = [{"prediction": text(p), "label": text(t), "count": n} for (p, t), n in sorted(cells.items())]
    return {
        "accuracy_score": float(accuracy_score(labels, predicted, sample_weight=weights)),
        "confusion_matrix": matrix,
        **by_name,
        "log_loss": None if counts.loss is None else counts.loss / counts.rows,
        "roc_auc_score": _areas(counts.ranks),
        **_calibration(counts),
    }


def text(value: Any) -> str:
    """A class as text, as Spark writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _areas(ranks: Mapping[Any, Ranks]) -> dict[str, Any] | None:
    """One against the rest, averaged plainly and by the number of labels (scikit-learn's ``ovr``)."""
    known = [(text(v), area, r.positives) for v, r in sorted(ranks.items()) if (area := r.area) is not None]
    if not known:
        return None
    return {
        "one_vs_all": [(name, area) for name, area, _ in known],
        "macro": sum(area for _, area, _ in known) / len(known),
        "weighted": sum(area * n for _, area, n in known) / sum(n for _, _, n in known),
    }


def _calibration(counts: Counts) -> dict[str, Any]:
    """Expected calibration error: the mean distance, weighted by rows, between confidence and share in each bin.

    Two classes: confidence is the probability of the greater class, share is how often that is the label
    (Naeini, Cooper and Hauskrecht 2015). More: confidence is the greatest probability, share is how often the
    prediction is right (Guo, Pleiss, Sun and Weinberger 2017).
    """
    if not counts.bins:
        return {}
    found = [
        {"lower": i / BINS, "upper": (i + 1) / BINS, "count": n, "confidence": total / n, "share": right / n}
        for i, (n, total, right) in sorted(counts.bins.items())
    ]
    off = sum(abs(right - total) for _, total, right in counts.bins.values())
    return {"expected_calibration_error": off / counts.rows, "calibration": found}


def headline_figures(row: Mapping[str, Any]) -> dict[str, float]:
    """The figures of one row of the table that a person compares: one number each, by name."""
    named = {n: row[n] for n in _SINGLE}
    for name in ("precision", "recall", "f1_score", "roc_auc_score"):
        for average in ("macro", "weighted"):
            named[f"{name}_{average}"] = (row[name] or {}).get(average)
    return {name: float(value) for name, value in named.items() if value is not None}


_SINGLE = (
    "accuracy_score",
    "log_loss",
    "expected_calibration_error",
    "root_mean_squared_error",
    "mean_squared_error",
    "mean_average_error",
    "mean_absolute_percentage_error",
    "r2_score",
)
