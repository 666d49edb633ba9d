"""How good the predictions were: a section that a run's page gets once labels have come."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.records import RunRecord
from pipelines.report.figures import clip, count, figure, percent
from pipelines.report.pages import _rendered

_BEGIN, _END = "<!-- quality -->", "<!-- /quality -->"  # data is escaped: no value can look like these
_BEFORE = '<section aria-labelledby="rows">'
_CELLS = 100  # of the confusion matrix, the largest ones
_TITLES = {
    "accuracy_score": ("Right", percent),
    "precision_macro": ("Precision (mean over classes)", figure),
    "recall_macro": ("Recall (mean over classes)", figure),
    "f1_score_macro": ("F1 (mean over classes)", figure),
    "roc_auc_score_macro": ("ROC AUC", figure),
    "log_loss": ("Log loss", figure),
    "expected_calibration_error": ("Calibration error", figure),
    "root_mean_squared_error": ("Root mean squared error", figure),
    "mean_average_error": ("Mean absolute error", figure),
    "mean_absolute_percentage_error": ("Mean percentage error", percent),
    "r2_score": ("R²", figure),
}


def with_quality(page: str, record: RunRecord, rows: Sequence[Mapping[str, Any]]) -> str:
    """The page of a run with its section "Quality against labels", which replaces an earlier one.

    Args:
        page: the HTML text.
        record: with its ``quality``.
        rows: of the table ``quality_metrics``, the whole table first.
    """
    section = _rendered(
        "run/quality.html.j2",
        quality=record.quality,
        tiles=_tiles(record.quality.get("figures") or {}),
        whole=rows[0],
        cells=sorted(rows[0]["confusion_matrix"] or (), key=lambda c: -c["count"])[:_CELLS],
        labels=[(name.replace("_", " "), count(n)) for name, n in record.quality["labels"].items()],
        slices=[(_name(row), row) for row in rows[1:]],
    )
    marked = f"{_BEGIN}\n{section}\n{_END}\n"
    if _BEGIN in page:
        return re.sub(f"{_BEGIN}.*?{_END}\n?", lambda _: marked, page, count=1, flags=re.DOTALL)
    place = _BEFORE if _BEFORE in page else "</main>"
    return page.replace(place, marked + place, 1)


def _tiles(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(title, form(figures[name])) for name, (title, form) in _TITLES.items() if name in figures]


def _name(row: Mapping[str, Any]) -> str:
    return f"{clip(row['slice_key'], 80)} = {clip(row['slice_value'], 80)}"
