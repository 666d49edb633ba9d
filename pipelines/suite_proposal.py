"""Expectation suites drawn from what a model says of itself: its signature and its baseline profile.

They are plain Great Expectations JSON, one expectation per line, to be edited. What a column never does in
training by far (``SPAN_ABSURD``) refuses a row; what it seldom does only warns.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pipelines.profiles import ColumnState, TableProfile
from pipelines.records import ModelColumn

SPAN_UNUSUAL = 0.1  # beyond the baseline's range by this share of it: worth a warning, if many rows do it
SPAN_ABSURD = 10.0  # beyond it by this many times its width: no measurement, but a mistake
MOSTLY = 0.99  # the share of rows that warnings on values ask for
MEAN_DEVIATIONS = 0.5  # the mean prediction may move by this many standard deviations
ROW_FACTOR = 10  # a day may have a tenth, or ten times, of the sample's rows
FEW_VALUES = 50  # most values that are listed by name
FEW_NUMBERS = 12  # most distinct whole numbers that are codes rather than measurements
_WHOLE = {"integer": 31, "long": 63}  # bits beside the sign
_NUMERIC = ("integer", "long", "float", "double")

Expectation = dict[str, Any]
Range = tuple[float, float]


@dataclass(frozen=True)
class Input:
    """One model input as the sample has it.

    ``column`` is the name of the source column, ``seen`` the finite range of its numbers in the sample.
    ``spark_type`` is the class of its Spark type where the source has types of its own (Parquet).
    """

    model: ModelColumn
    column: str
    seen: Range | None = None
    spark_type: str | None = None


def input_suite(
    name: str, inputs: Sequence[Input], baseline: TableProfile | None, rows: int | None
) -> dict[str, Any]:
    """The suite for inputs; ``rows`` is the size of the sample, None where it is not known.

    Without a baseline it knows names, types and nullability only.
    """
    states = baseline.columns if baseline else {}
    rules = []
    if needed := [i.column for i in inputs if i.model.required]:
        columns = {"column_set": needed, "exact_match": False}
        rules.append(_table("expect_table_columns_to_match_set", columns, "critical"))
    if rows:
        bounds = {"min_value": max(1, rows // ROW_FACTOR), "max_value": rows * ROW_FACTOR}
        note = f"The sample had {rows} rows: a tenth to ten times of that."
        rules.append(_table("expect_table_row_count_to_be_between", bounds, "warning", note))
    for each in inputs:
        if "`" not in each.column:  # Great Expectations cannot name such a column on Spark
            rules += _on_input(each, states.get(each.model.name))
    return _suite(f"{name}.input", rules)


def output_suite(name: str, outputs: Sequence[ModelColumn], baseline: TableProfile | None) -> dict[str, Any]:
    """The suite for prediction columns."""
    states = baseline.columns if baseline else {}
    rules: list[Expectation] = []
    for output in outputs:
        rules.append(_on("expect_column_values_to_not_be_null", output.name, "critical"))
        state = states.get(output.name)
        if state is not None and not output.type.startswith("array<"):
            rules += _on_values(output.type, output.name, state, None)
            rules += _mean(output, state)
    return _suite(f"{name}.output", rules)


def to_json(suite: Mapping[str, Any]) -> str:
    """The text of a suite, one expectation per line: easy to read, to edit and to compare."""
    lines = ",\n    ".join(json.dumps(e, ensure_ascii=False, allow_nan=False) for e in suite["expectations"])
    name, meta = (json.dumps(suite[part], ensure_ascii=False) for part in ("name", "meta"))
    return f'{{\n  "name": {name},\n  "expectations": [\n    {lines}\n  ],\n  "meta": {meta}\n}}\n'


def _suite(name: str, rules: Sequence[Expectation]) -> dict[str, Any]:
    return {"name": name, "expectations": list(rules), "meta": {"proposed_by": "jobs.init_pipeline"}}


def _on_input(each: Input, state: ColumnState | None) -> list[Expectation]:
    kind, column = each.model.type, each.column
    rules = []
    if each.spark_type and "." not in column:  # Great Expectations does not find the type of such a column
        types = {"type_": each.spark_type}
        rules.append(
            _on("expect_column_values_to_be_of_type", column, "warning", types, note="As in the sample.")
        )
    if each.model.required:
        note = (
            f"Rows without it are quarantined by the built-in rule required({column}); here they are counted."
        )
        rules.append(_on("expect_column_values_to_not_be_null", column, "warning", note=note))
    elif state is not None and state.count:
        rules += _seldom_missing(column, state)
    if state is not None and not kind.startswith("array<"):
        rules += _on_values(kind, column, state, each.seen)
    return rules


def _seldom_missing(column: str, state: ColumnState) -> list[Expectation]:
    """An optional input may be missing twice as often as in the baseline, and five in a hundred more."""
    share = state.missing / state.count
    mostly = round(1 - 2 * share - 0.05, 2)
    note = f"Missing in {share:.1%} of the baseline."
    least = {"mostly": mostly}
    return (
        [_on("expect_column_values_to_not_be_null", column, "warning", least, note=note)]
        if mostly > 0
        else []
    )


def _on_values(kind: str, column: str, state: ColumnState, seen: Range | None) -> list[Expectation]:
    values = _few_values(kind, state)
    if values is not None:
        note = f"All {len(values)} values of the baseline."
        allowed = {"value_set": values, "mostly": MOSTLY}
        return [
            _on(
                "expect_column_values_to_be_in_set",
                column,
                "warning",
                allowed,
                f"unknown_value({column})",
                note,
            )
        ]
    if kind == "string" and state.max_length is not None and state.min_length is not None:
        return [_lengths(column, state.min_length, state.max_length)]
    if kind == "datetime" and state.minimum is not None and state.maximum is not None:
        return [_not_before(column, state.minimum, state.maximum)]
    if kind in _NUMERIC and state.minimum is not None and state.maximum is not None:
        return _ranges(kind, column, (state.minimum, state.maximum), seen)
    return []


def _few_values(kind: str, state: ColumnState) -> list[Any] | None:
    """All values of a column of categories or codes, None for any other."""
    spec = state.spec
    if kind == "string" and spec.categories and len(spec.categories) <= FEW_VALUES:
        # half as many categories as values, or a bin of others: names rather than categories
        complete = state.bins[-1] == 0 and len(spec.categories) <= state.finite / 2
        return sorted(spec.categories) if complete else None
    if kind in _WHOLE and spec.is_numeric and spec.discrete and 1 < len(spec.edge_array) <= FEW_NUMBERS + 1:
        return [int(edge) for edge in spec.edge_array[1:]]
    return None


def _ranges(kind: str, column: str, learned: Range, seen: Range | None) -> list[Expectation]:
    both = (min(learned[0], seen[0]), max(learned[1], seen[1])) if seen else learned
    where = f"Baseline {learned[0]:.6g} to {learned[1]:.6g}"
    wider = f", sample {seen[0]:.6g} to {seen[1]:.6g}" if seen and both != learned else ""
    absurd = _on(
        "expect_column_values_to_be_between", column, "critical", _widened(kind, both, SPAN_ABSURD),
        f"out_of_range({column})", f"{where}{wider}; {SPAN_ABSURD:g} times the width beyond that.",
    )  # fmt: skip
    unusual = _on(
        "expect_column_values_to_be_between", column, "warning",
        {**_widened(kind, learned, SPAN_UNUSUAL), "mostly": MOSTLY},
        f"unusual({column})", f"{where}; a tenth of the width beyond that.",
    )  # fmt: skip
    return [e for e in (absurd, unusual) if {"min_value", "max_value"} & e["kwargs"].keys()]


def _widened(kind: str, bounds: Range, factor: float) -> dict[str, Any]:
    """Bounds that a range may be exceeded to, rounded outwards; those beyond the column's type are left out."""
    low, high = bounds
    width = (high - low) or max(abs(low), 1.0)
    found = {
        "min_value": _rounded(low - factor * width, width * factor, math.floor),
        "max_value": _rounded(high + factor * width, width * factor, math.ceil),
    }
    limit = 2.0 ** _WHOLE[kind] if kind in _WHOLE else math.inf
    whole = kind in _WHOLE
    return {k: int(v) if whole else v for k, v in found.items() if math.isfinite(v) and abs(v) < limit}


def _rounded(value: float, scale: float, direction: Any) -> float:
    """To two digits of ``scale``, outwards; whole where the step is."""
    if not math.isfinite(value) or not math.isfinite(scale):
        return math.inf
    step = 10.0 ** (math.floor(math.log10(scale)) - 1) if scale > 0 else 1.0
    if step == 0 or abs(value / step) > 2**52:
        return value
    rounded = direction(value / step) * step
    return float(f"{rounded:.12g}")


def _lengths(column: str, least: int, most: int) -> Expectation:
    bounds = {"min_value": least, "max_value": 2 * max(most, 1), "mostly": MOSTLY}
    note = f"Baseline {least} to {most} characters; up to twice as many."
    return _on(
        "expect_column_value_lengths_to_be_between", column, "warning", bounds, f"unusual({column})", note
    )


def _not_before(column: str, first: float, last: float) -> Expectation:
    """Time goes on, so that there is no upper bound; a day long ago is a default that stands for no date."""
    try:
        bound = datetime.fromtimestamp(first - max(last - first, 86400.0), UTC).date().isoformat()
        note = f"Baseline from {datetime.fromtimestamp(first, UTC):%Y-%m-%d}; its width before that."
    except (OverflowError, ValueError, OSError):
        bound, note = "1900-01-01", "The baseline's first date is beyond the calendar."
    bounds = {"min_value": bound, "mostly": MOSTLY}
    return _on("expect_column_values_to_be_between", column, "warning", bounds, f"unusual({column})", note)


def _mean(output: ModelColumn, state: ColumnState) -> list[Expectation]:
    deviation, kind = state.stddev, output.type
    codes = len(_few_values(kind, state) or ()) > 2  # the mean of more than two class numbers says nothing
    if kind not in _NUMERIC or not deviation or not math.isfinite(deviation) or codes:
        return []
    by = MEAN_DEVIATIONS * deviation
    bounds = {
        "min_value": _rounded(state.mean - by, by, math.floor),
        "max_value": _rounded(state.mean + by, by, math.ceil),
    }
    note = f"Baseline mean {state.mean:.6g}, standard deviation {deviation:.6g}; half of it to either side."
    return [_on("expect_column_mean_to_be_between", output.name, "warning", bounds, note=note)]


def _on(
    kind: str,
    column: str,
    severity: Literal["critical", "warning"],
    kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
    note: str | None = None,
) -> Expectation:
    meta = {"meta": {"name": name}} if name else {}
    notes = {"notes": note} if note else {}
    return {
        "type": kind,
        "kwargs": {"column": column, **(kwargs or {})},
        "severity": severity,
        **meta,
        **notes,
    }


def _table(
    kind: str, kwargs: Mapping[str, Any], severity: Literal["critical", "warning"], note: str | None = None
) -> Expectation:
    notes = {"notes": note} if note else {}
    return {"type": kind, "kwargs": dict(kwargs), "severity": severity, **notes}
