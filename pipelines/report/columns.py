"""What the findings say of each column, for a reader who does not know the statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.records import Distribution, DriftFinding
from pipelines.report.figures import count, days, figure, number, points

# name of a statistic: its field in DriftFinding, its title, and its value in a sentence for everybody
STATISTICS: Mapping[str, tuple[str, str, str]] = {
    "js_distance": (
        "js_distance",
        "Jensen\u2013Shannon distance",
        "The shape differs by {} on a scale from 0 (the same) to 1 (nothing in common)",
    ),
    "wasserstein": (
        "wasserstein_distance",
        "Normalised Wasserstein distance",
        "The values moved by {} baseline standard deviations",
    ),
    "psi": ("population_stability_index", "Population stability index", "The stability index is {}"),
    "ks": ("ks_statistic", "Kolmogorov\u2013Smirnov statistic", "Cumulative shares differ by up to {}"),
    "chi_squared": ("chi_squared_statistic", "Chi-squared statistic", "The chi-squared statistic is {}"),
    "tv_distance": ("tv_distance", "Total variation distance", "A share of {} changed category"),
    "l_infinity_distance": ("l_infinity_distance", "Largest change of a share", "One share changed by {}"),
}
_TIMES = ("timestamp", "timestamp_ntz", "datetime", "date")
VERDICTS = ("drift", "insufficient_data", "ok")  # the worst first


@dataclass(frozen=True)
class ColumnDrift:
    """All that is known of one column: its verdict, and the findings against each reference, the one that decides
    first. The verdict is that of the first, but a drift against any."""

    name: str
    verdict: str
    findings: tuple[DriftFinding, ...]
    distribution: Distribution | None


def column_drifts(
    findings: Sequence[DriftFinding], distributions: Sequence[Distribution]
) -> list[ColumnDrift]:
    """Findings grouped by column: drifted columns first, the furthest beyond its limit at the top."""
    grouped: dict[str, list[DriftFinding]] = {d.column: [] for d in distributions}
    for finding in (f for f in findings if f.slice_key is None):
        grouped.setdefault(finding.column_name, []).append(finding)
    grouped.pop(":table", None)
    plots = {d.column: d for d in distributions}
    columns = [ColumnDrift(n, _verdict(f), tuple(f), plots.get(n)) for n, f in grouped.items()]
    return sorted(columns, key=_worst_first)


def sentences(finding: DriftFinding) -> list[str]:
    """What a finding says, for a reader who does not know the statistics."""
    if finding.verdict == "insufficient_data":
        if finding.n_cur and finding.n_ref and finding.js_distance is None:
            return ["Counted on other bins than the reference, so that there is nothing to compare."]
        sizes = f"{count(finding.n_cur)} values against {count(finding.n_ref)} in the reference"
        return [f"Too little data to judge: {sizes}."]
    said = [_deciding(finding)]
    if finding.wasserstein_distance is not None and not finding.statistic.startswith("wasserstein"):
        said.append(STATISTICS["wasserstein"][2].replace("{}", figure(finding.wasserstein_distance)) + ".")
    said.append(_change("The mean", finding.avg_delta, days if finding.data_type in _TIMES else figure))
    said.append(_change("Empty values", finding.percent_null_delta, points))
    said.append(_change("Zeros", finding.percent_zeros_delta, points))
    return [s for s in said if s]


def statistics(finding: DriftFinding) -> list[tuple[str, str, str]]:
    """(title, value, limit) of every distance that was computed; the limit where it decides the verdict."""
    rows = []
    for field, title, _ in STATISTICS.values():
        if (value := number(getattr(finding, field))) is None:
            continue
        decides = _described(finding.statistic)[0] == field
        # Distances on shares of frozen bins are exact; only this one looks between the edges.
        bounded = finding.error_bound and field == "ks_statistic"
        bound = f" ± {figure(finding.error_bound)}" if bounded else ""
        rows.append((title, figure(value) + bound, figure(finding.threshold) if decides else ""))
    return rows


def most_changed(columns: Sequence[ColumnDrift], limit: int) -> list[ColumnDrift]:
    """What a reader should see first: all drifted columns, or where none did, the two that moved most."""
    drifted = [c for c in columns if c.verdict == "drift"]
    judged = [c for c in columns if c.findings and c.distribution and c.verdict == "ok"]
    return drifted[:limit] or judged[:2]


def title_of(statistic: str) -> str:
    """A statistic's name for readers."""
    return _described(statistic)[1]


def _worst_first(column: ColumnDrift) -> tuple[int, float]:
    return VERDICTS.index(column.verdict), -max(map(_excess, column.findings), default=0.0)


def _verdict(findings: Sequence[DriftFinding]) -> str:
    verdicts = [f.verdict for f in findings] or ["ok"]
    return "drift" if "drift" in verdicts else verdicts[0]


def _excess(finding: DriftFinding) -> float:
    value = number(getattr(finding, _described(finding.statistic)[0], None))
    return (value or 0.0) / (number(finding.threshold) or 1.0)


def _deciding(finding: DriftFinding) -> str:
    if finding.statistic == "data_type":
        return f"Its values are of another kind than in the reference: {finding.data_type} now."
    field, _, words = _described(finding.statistic)
    value = getattr(finding, field, None)
    if value is None:
        return ""
    limit = f"; the limit is {figure(finding.threshold)}" if finding.threshold is not None else ""
    return words.replace("{}", figure(value)) + limit + "."


def _described(name: str) -> tuple[str, str, str]:
    for key, entry in STATISTICS.items():
        if name in (key, entry[0]):
            return entry
    return name, name.replace("_", " "), name.replace("_", " ") + " is {}"


def _change(what: str, delta: Any, form: Callable[[Any], str]) -> str:
    value = number(delta)
    if not value:
        return ""
    return f"{what} {'rose' if value > 0 else 'fell'} by {form(abs(value))}."
