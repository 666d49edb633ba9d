"""What is found on a table, or on a slice of it, as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pipelines.drift.verdicts import Thresholds
from pipelines.profiles import ColumnState, TableFacts
from pipelines.records import DriftFinding, QuarantinedShare

TABLE = ":table"
Columns = Mapping[str, ColumnState]
Facts = tuple[TableFacts | None, TableFacts | None]
_SAME_TYPE = {"integer": "int", "bigint": "long", "smallint": "short", "tinyint": "byte", "real": "float"}


def table_finding(
    reference: Columns,
    current: Columns,
    findings: Sequence[DriftFinding],
    thresholds: Thresholds,
    **about: Any,
) -> DriftFinding:
    """The finding on the whole, from those on its columns.

    Args:
        reference: the columns' states, of which each counts all rows.
        current: those of the window.
        findings: of the columns.
        thresholds: ``dataset_share`` decides here.
        about: ``drift_type``, and of a slice its ``slice_key`` and ``slice_value``.
    """
    n_ref, n_cur = (max((s.count for s in side.values()), default=0) for side in (reference, current))
    held = [{n for n, s in side.items() if s.count > s.nulls} for side in (reference, current)]
    compared = [f.verdict for f in findings if f.n_ref and f.n_cur]
    return DriftFinding(
        **about,
        column_name=TABLE,
        data_type="",
        verdict=table_verdict(compared, thresholds.dataset_share),
        statistic="drifted_share",
        threshold=thresholds.dataset_share,
        n_ref=n_ref,
        n_cur=n_cur,
        count_delta=n_cur - n_ref,
        volume_ratio=n_cur / n_ref if n_ref else None,
        non_null_columns_added=len(held[1] - held[0]),
        non_null_columns_missing=len(held[0] - held[1]),
    )


def with_facts(finding: DriftFinding, facts: Facts, thresholds: Thresholds, alpha: float) -> DriftFinding:
    """A table's finding with what only the facts of both windows tell.

    Columns that came, went or changed their type are told and decide nothing: a run that cannot do without
    them is refused before. Volume (between consecutive windows) and the quarantined share decide where they
    have a threshold.
    """
    ref, cur = facts
    if ref is None or cur is None or not ref.rows or not cur.rows:
        return finding
    shares = _quarantined(ref, cur)
    found = replace(
        finding,
        n_ref=ref.rows,
        n_cur=cur.rows,
        count_delta=cur.rows - ref.rows,
        volume_ratio=cur.rows / ref.rows,
        quarantined=shares,
        **(_schema_changes(ref.types, cur.types) if ref.types and cur.types else {}),
    )
    if finding.verdict == "drift":
        return found
    if finding.drift_type == "CONSECUTIVE" and _beyond(cur.rows / ref.rows - 1, thresholds.volume):
        return replace(found, verdict="drift", statistic="volume_ratio", threshold=thresholds.volume)
    change = shares[0].percent_delta / 100
    if _beyond(change, thresholds.quarantined) and _stands_out(ref, cur, alpha):
        return replace(found, verdict="drift", statistic="quarantined", threshold=thresholds.quarantined)
    return found


def _beyond(change: float, limit: float | None) -> bool:
    return limit is not None and abs(change) >= limit


def table_verdict(columns: Sequence[str], share: float) -> Literal["ok", "drift", "insufficient_data"]:
    """The verdict that no column without one could change."""
    drifted, unknown = columns.count("drift"), columns.count("insufficient_data")
    if drifted and drifted >= share * len(columns):
        return "drift"
    undecided = not columns or (unknown and drifted + unknown >= share * len(columns))
    return "insufficient_data" if undecided else "ok"


def _schema_changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, Any]:
    retyped = [
        f"{name}: {kind} to {after[name]}"
        for name, kind in before.items()
        if name in after and _SAME_TYPE.get(kind, kind) != _SAME_TYPE.get(after[name], after[name])
    ]
    return {
        "columns_added": tuple(name for name in after if name not in before),
        "columns_missing": tuple(name for name in before if name not in after),
        "columns_retyped": tuple(retyped),
    }


def _quarantined(ref: TableFacts, cur: TableFacts) -> tuple[QuarantinedShare, ...]:
    """All rules together first, then each, the largest change first."""
    rules = {**ref.quarantined, **cur.quarantined}
    whole = _share("", ref.rows_quarantined / ref.rows, cur.rows_quarantined / cur.rows)
    each = [
        _share(r, ref.quarantined.get(r, 0) / ref.rows, cur.quarantined.get(r, 0) / cur.rows) for r in rules
    ]
    return (whole, *sorted(each, key=lambda s: (-abs(s.percent_delta), s.rule)))


def _share(rule: str, before: float, after: float) -> QuarantinedShare:
    return QuarantinedShare(rule, 100 * before, 100 * after)


def _stands_out(ref: TableFacts, cur: TableFacts, alpha: float) -> bool:
    """Whether the shares quarantined differ by more than two samples of one share do (Fisher's exact test)."""
    from scipy.stats import hypergeom

    drawn = hypergeom(ref.rows + cur.rows, ref.rows_quarantined + cur.rows_quarantined, cur.rows)
    found = cur.rows_quarantined
    return bool(min(drawn.cdf(found), drawn.sf(found - 1)) < alpha / 2)
