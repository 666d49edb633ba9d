"""Profiles and findings as the two metric tables, in the columns that Databricks' data profiling writes.

Conventions: a window is [run date, next day) in UTC; percentages are 0 to 100; ``slice_key`` is null for the
whole table, else the slicing expression; ``monitor_version`` is 0. ``quantiles`` are those at 0, 0.05, ...,
1. Times count as seconds since 1970-01-01 UTC. The columns behind ``model_id`` are ours. ``run_date`` and
``run_id`` are partitions: they stand in the path, not in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

import pyarrow as pa

from pipelines.profiles import ColumnState, TableFacts, TableProfile, quantiles
from pipelines.records import DriftFinding, QuarantinedShare

GRANULARITY = "1 day"
LEVELS = tuple(i / 20 for i in range(21))
FREQUENT = 100  # most frequent items listed
TABLE = ":table"
_LISTS = ("columns_added", "columns_missing", "columns_retyped")

_WINDOW = pa.struct([("start", pa.timestamp("us", "UTC")), ("end", pa.timestamp("us", "UTC"))])
_TEST = pa.struct([("statistic", pa.float64()), ("pvalue", pa.float64())])
_ITEM = pa.struct([("item", pa.string()), ("count", pa.int64())])
_RULE = pa.struct([("rule", pa.string()), ("count", pa.int64()), ("percent", pa.float64())])
_RULE_DELTA = pa.struct([("rule", pa.string()), ("percent", pa.float64()), ("percent_delta", pa.float64())])

PROFILE_METRICS = pa.schema(
    [
        ("window", _WINDOW),
        ("log_type", pa.string()),
        ("logging_table_commit_version", pa.int32()),
        ("monitor_version", pa.int64()),
        ("granularity", pa.string()),
        ("slice_key", pa.string()),
        ("slice_value", pa.string()),
        ("column_name", pa.string()),
        ("count", pa.int64()),
        ("data_type", pa.string()),
        ("num_nulls", pa.int64()),
        ("avg", pa.float64()),
        ("quantiles", pa.list_(pa.float64())),
        ("min", pa.float64()),
        ("max", pa.float64()),
        ("stddev", pa.float64()),
        ("num_zeros", pa.int64()),
        ("num_nan", pa.int64()),
        ("min_length", pa.float64()),
        ("max_length", pa.float64()),
        ("avg_length", pa.float64()),
        ("non_null_columns", pa.list_(pa.string())),
        ("frequent_items", pa.list_(_ITEM)),
        ("median", pa.float64()),
        ("distinct_count", pa.int64()),
        ("percent_nan", pa.float64()),
        ("percent_null", pa.float64()),
        ("percent_zeros", pa.float64()),
        ("percent_distinct", pa.float64()),
        ("model_id", pa.string()),
        ("quarantined", pa.list_(_RULE)),
    ]
)

DRIFT_METRICS = pa.schema(
    [
        ("window", _WINDOW),
        ("granularity", pa.string()),
        ("monitor_version", pa.int64()),
        ("slice_key", pa.string()),
        ("slice_value", pa.string()),
        ("column_name", pa.string()),
        ("data_type", pa.string()),
        ("window_cmp", _WINDOW),
        ("drift_type", pa.string()),
        ("count_delta", pa.int64()),
        ("avg_delta", pa.float64()),
        ("percent_null_delta", pa.float64()),
        ("percent_zeros_delta", pa.float64()),
        ("percent_distinct_delta", pa.float64()),
        ("non_null_columns_delta", pa.struct([("added", pa.int32()), ("missing", pa.int32())])),
        ("js_distance", pa.float64()),
        ("ks_test", _TEST),
        ("wasserstein_distance", pa.float64()),
        ("population_stability_index", pa.float64()),
        ("chi_squared_test", _TEST),
        ("tv_distance", pa.float64()),
        ("l_infinity_distance", pa.float64()),
        ("model_id", pa.string()),
        ("verdict", pa.string()),
        ("threshold", pa.float64()),
        ("n_ref", pa.int64()),
        ("n_cur", pa.int64()),
        ("error_bound", pa.float64()),
        ("statistic", pa.string()),
        ("percent_nan_delta", pa.float64()),
        ("volume_ratio", pa.float64()),
        ("columns_added", pa.list_(pa.string())),
        ("columns_missing", pa.list_(pa.string())),
        ("columns_retyped", pa.list_(pa.string())),
        ("quarantined", pa.list_(_RULE_DELTA)),
    ]
)


def profile_metrics(
    profile: TableProfile, *, run_date: date, model_id: str, log_type: Literal["INPUT", "BASELINE"] = "INPUT"
) -> pa.Table:
    """One row for the table, then one per column; then the same for each slice.

    Figures that do not apply to a column's kind are null. ``count`` is all rows, nulls among them; ``avg``,
    ``min``, ``max``, ``stddev`` and quantiles are over finite values.
    """
    shared = {
        "window": _window(run_date),
        "log_type": log_type,
        "monitor_version": 0,
        "granularity": GRANULARITY,
        "model_id": model_id,
    }
    rows = [*_rows(profile.columns), *_of_slices(profile)]
    rows[0]["quarantined"] = _by_rule(profile.facts)
    return pa.Table.from_pylist([shared | row for row in rows], schema=PROFILE_METRICS)


def _rows(columns: Mapping[str, ColumnState]) -> list[dict[str, Any]]:
    count = max((state.count for state in columns.values()), default=0)
    held = [name for name, state in columns.items() if state.count > state.nulls]
    table = {"column_name": TABLE, "count": count, "non_null_columns": held}
    return [table, *(_column(state) for state in columns.values())]


def _of_slices(profile: TableProfile) -> Iterator[dict[str, Any]]:
    for (key, value), columns in profile.slices.parts.items():
        yield from ({"slice_key": key, "slice_value": value} | row for row in _rows(columns))


def _by_rule(facts: TableFacts | None) -> list[dict[str, Any]] | None:
    if facts is None:
        return None
    return [{"rule": r, "count": n, "percent": _percent(n, facts.rows)} for r, n in facts.quarantined.items()]


def drift_metrics(
    findings: Iterable[DriftFinding], *, run_date: date, model_id: str, compared_date: date | None = None
) -> pa.Table:
    """One row per finding, in their order.

    Args:
        findings: of one run.
        run_date: its window.
        model_id: ``NAME/VERSION``.
        compared_date: the run date of the window compared with, for ``CONSECUTIVE`` findings.
    """
    shared = {
        "window": _window(run_date),
        "granularity": GRANULARITY,
        "monitor_version": 0,
        "model_id": model_id,
    }
    compared = _window(compared_date) if compared_date else None
    rows = [shared | _drift(f, compared) for f in findings]
    return pa.Table.from_pylist(rows, schema=DRIFT_METRICS)


def _window(day: date) -> dict[str, datetime]:
    start = datetime.combine(day, time(), UTC)
    return {"start": start, "end": start + timedelta(days=1)}


def _column(state: ColumnState) -> dict[str, Any]:
    every = {
        "column_name": state.spec.name,
        "data_type": state.spec.data_type,
        "count": state.count,
        "num_nulls": state.nulls,
        "distinct_count": state.distinct,
        "percent_null": _percent(state.nulls, state.count),
        "percent_distinct": _percent(state.distinct, state.count),
    }
    return every | (_numeric(state) if state.spec.is_numeric else _textual(state))


def _numeric(state: ColumnState) -> dict[str, Any]:
    levels = quantiles(state, LEVELS)
    return {
        "avg": state.mean if state.finite else None,
        "quantiles": levels or None,
        "median": levels[len(LEVELS) // 2] if levels else None,
        "min": None if state.minimum is None else float(state.minimum),
        "max": None if state.maximum is None else float(state.maximum),
        "stddev": state.stddev,
        "num_zeros": state.zeros,
        "num_nan": state.nans,
        "percent_zeros": _percent(state.zeros, state.count),
        "percent_nan": _percent(state.nans, state.count),
    }


def _textual(state: ColumnState) -> dict[str, Any]:
    return {
        "min_length": None if state.min_length is None else float(state.min_length),
        "max_length": None if state.max_length is None else float(state.max_length),
        "avg_length": state.sum_length / state.finite if state.finite else None,
        "frequent_items": [{"item": item, "count": n} for item, n in state.frequent[:FREQUENT]],
    }


def _drift(finding: DriftFinding, compared: dict[str, datetime] | None) -> dict[str, Any]:
    own = {name: getattr(finding, name) for name in DRIFT_METRICS.names if hasattr(finding, name)}
    of_table = finding.column_name == TABLE and finding.slice_key is None
    own |= {name: list(own[name]) if of_table else None for name in _LISTS}
    added, missing = finding.non_null_columns_added, finding.non_null_columns_missing
    return own | {
        "quarantined": [_rule_delta(share) for share in finding.quarantined] if of_table else None,
        "window_cmp": compared if finding.drift_type == "CONSECUTIVE" else None,
        "non_null_columns_delta": None if added is None else {"added": added, "missing": missing},
        "ks_test": _test(finding.ks_statistic, finding.ks_pvalue),
        "chi_squared_test": _test(finding.chi_squared_statistic, finding.chi_squared_pvalue),
    }


def _rule_delta(share: QuarantinedShare) -> dict[str, Any]:
    return {"rule": share.rule or None, "percent": share.percent, "percent_delta": share.percent_delta}


def _test(statistic: float | None, pvalue: float | None) -> dict[str, float | None] | None:
    return None if statistic is None else {"statistic": statistic, "pvalue": pvalue}


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
