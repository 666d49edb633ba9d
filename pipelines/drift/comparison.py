"""From two profiles to findings: the table and its columns, then each slice and its columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pipelines.drift.verdicts import DriftType, Thresholds, column_finding, judged_statistics
from pipelines.drift.whole import table_finding, with_facts
from pipelines.profiles import ColumnState, Slice, TableProfile
from pipelines.records import DriftFinding

# False alarms that sampling may raise per comparison, in expectation; see the package.
ALPHA = 0.0005
Columns = Mapping[str, ColumnState]


def compare(
    reference: TableProfile,
    current: TableProfile,
    thresholds: Thresholds | None = None,
    drift_type: DriftType = "BASELINE",
) -> tuple[DriftFinding, ...]:
    """Compare a window with its reference.

    Args:
        reference: a frozen profile (a baseline, or ``freeze`` of an earlier window).
        current: the window, profiled with ``specs_from(reference)``.
        thresholds: the default thresholds where None.
        drift_type: what the reference is.

    Returns:
        One finding for the table (``:table``), then one per column in the order of the reference, columns
        new in the window last. The table drifts from ``dataset_share`` of its columns on; it is ``ok`` only
        where the columns without a verdict could not make it drift. Then the same for every slice, by key
        and value; slices decide nothing on the table.

    Raises:
        ConfigInvalid: a column of the two was not counted on the same bins.
    """
    limits = thresholds or Thresholds()
    slices = _slices(reference, current)
    statistics = sum(map(judged_statistics, reference.columns.values())) or 1
    judged = 1 + sum(part in reference.slices.parts and part in current.slices.parts for part in slices)
    alpha = ALPHA / (statistics * judged)
    table, *columns = _findings(reference.columns, current.columns, limits, alpha, {"drift_type": drift_type})
    own = with_facts(table, (reference.facts, current.facts), limits, alpha)
    found = [own, *columns]
    for part in slices:
        key, value = part
        about = {"drift_type": drift_type, "slice_key": key, "slice_value": value}
        states = [p.slices.parts.get(part, {}) for p in (reference, current)]
        found += _findings(states[0], states[1], limits, alpha, about)
    return tuple(found)


def _findings(
    reference: Columns, current: Columns, limits: Thresholds, alpha: float, about: Mapping[str, Any]
) -> Iterator[DriftFinding]:
    """The finding on the whole, then those on the columns."""
    names = dict.fromkeys([*reference, *current])
    pairs = [(reference.get(name), current.get(name)) for name in names]
    columns = [replace(column_finding(p, limits, alpha, about["drift_type"]), **about) for p in pairs]
    yield table_finding(reference, current, columns, limits, **about)
    yield from columns


def _slices(reference: TableProfile, current: TableProfile) -> list[Slice]:
    """The slices that either knows, of the expressions by which the window was cut and neither has given up."""
    given_up = reference.slices.given_up | current.slices.given_up
    cut_by = {key for key, _ in current.slices.parts} - given_up
    known = {*reference.slices.parts, *current.slices.parts}
    return sorted((s for s in known if s[0] in cut_by), key=lambda s: (s[0], s[1] is None, s[1] or ""))
