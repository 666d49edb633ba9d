"""What was found on the table as a whole and on its slices, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.records import DriftFinding
from pipelines.report.columns import VERDICTS
from pipelines.report.figures import clip, count, percent, plural

TABLE = ":table"
_NAMES = 8
_NOTABLE = 0.1  # a change of the volume by a tenth is worth a word, where nothing decides on it


@dataclass(frozen=True)
class Slice:
    """One slice against its reference: its verdict, the columns that drifted, and its rows.

    ``against`` names the reference where the slices have several.
    """

    name: str
    verdict: str
    drifted: str
    rows: int
    rows_before: int
    against: str = ""


def table_sentences(finding: DriftFinding) -> list[str]:
    """What a reader should know of the whole table before its columns."""
    return list(_schema(finding)) + list(_volume(finding)) + list(_quarantined(finding))


def slices(findings: Sequence[DriftFinding]) -> list[Slice]:
    """All slices against each of their references, those that drifted first, then by their number of rows."""
    grouped: dict[tuple[Any, ...], list[DriftFinding]] = {}
    for finding in findings:
        if finding.slice_key is not None:
            of = (finding.slice_key, finding.slice_value, finding.drift_type)
            grouped.setdefault(of, []).append(finding)
    several = len({kind for _, _, kind in grouped}) > 1
    found = [_slice(key, value, group, several) for (key, value, _), group in grouped.items()]
    return sorted(found, key=lambda s: (VERDICTS.index(s.verdict), -s.rows))


def _slice(key: str, value: str | None, findings: Sequence[DriftFinding], several: bool) -> Slice:
    columns = [f for f in findings if f.column_name != TABLE]
    drifted = list(dict.fromkeys(f.column_name for f in columns if f.verdict == "drift"))
    return Slice(
        name=f"{clip(key, 80)} = {clip(value, 80)}",
        verdict=min((f.verdict for f in findings), key=VERDICTS.index),
        drifted=_listed(drifted),
        rows=max(f.n_cur for f in findings),
        rows_before=max(f.n_ref for f in findings),
        against=_before(findings[0]) if several else "",
    )


def _schema(finding: DriftFinding) -> Iterator[str]:
    before = _before(finding)
    if finding.columns_added:
        yield f"New since {before}: {_listed(finding.columns_added)}."
    if finding.columns_missing:
        yield f"Gone since {before}: {_listed(finding.columns_missing)}."
    if finding.columns_retyped:
        yield f"Of another type than in {before}: {_listed(finding.columns_retyped)}."
    added, missing = finding.non_null_columns_added or 0, finding.non_null_columns_missing or 0
    if added or missing:
        yield f"Columns that hold values: {count(added)} more and {count(missing)} fewer than in {before}."


def _volume(finding: DriftFinding) -> Iterator[str]:
    ratio = finding.volume_ratio
    decides = finding.statistic == "volume_ratio"
    if ratio is None or finding.drift_type != "CONSECUTIVE" or (abs(ratio - 1) < _NOTABLE and not decides):
        return  # a baseline is a sample: its size says nothing of a day's volume
    limit = f"; the limit is {percent(finding.threshold)}" if decides else ""
    word = "more" if ratio > 1 else "fewer"
    yield f"{percent(abs(ratio - 1))} {word} rows than in {_before(finding)}{limit}."


def _quarantined(finding: DriftFinding) -> Iterator[str]:
    for share in finding.quarantined[:3]:
        if not share.percent_delta:
            continue
        what = f"Quarantined for {clip(share.rule, 80)}" if share.rule else "Quarantined"
        shares = f"{percent(share.percent / 100)} of the rows, {percent(share.percent_reference / 100)}"
        decides = not share.rule and finding.statistic == "quarantined" and finding.threshold is not None
        limit = f"; the limit of the change is {percent(finding.threshold)}" if decides else ""
        yield f"{what}: {shares} in {_before(finding)}{limit}."


def _before(finding: DriftFinding) -> str:
    return "the previous run" if finding.drift_type == "CONSECUTIVE" else "the baseline"


def _listed(names: Sequence[str]) -> str:
    more = f" and {plural(len(names) - _NAMES, 'more')}".removesuffix("s") if len(names) > _NAMES else ""
    return ", ".join(clip(n, 60) for n in names[:_NAMES]) + more
