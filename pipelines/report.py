"""The page of a run, and the index over all runs of a pipeline.

One self-contained HTML file each: no script, no network, no font or image from elsewhere, so that a page
can be mailed, archived and opened years later. This stage decides nothing: every figure on a page is in the
records, only arranged and put into words. Everything that came from data (column names, values, messages)
is text to the templates, never markup.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any

from pipelines.records import CheckOutcome, Distribution, DriftFinding, RunDetail, RunRecord

if TYPE_CHECKING:
    from jinja2 import Environment

LARGE_CHARTS = 12  # drifted columns beyond these share the compact table: the page stays mailable
NOTHING = "\u2013"

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
STATUS_WORDS: Mapping[str, str] = {
    "published": "Published",
    "already_published": "Already published",
    "refused": "Refused",
    "blocked": "Not published",
    "failed": "Failed",
    "dry_run": "Dry run",
}


def render_run(detail: RunDetail, previous: Sequence[RunRecord] = ()) -> str:
    """The page of one run as HTML text (UTF-8, no references to anything outside itself).

    Args:
        detail: the run's record and whatever else is known; empty parts are left out of the page.
        previous: earlier runs of the same pipeline in any order, for the trends; may be empty.
    """
    record = detail.record
    columns = column_drifts(detail.drift, detail.distributions)
    drifted = [c for c in columns if c.verdict == "drift"]
    suites = _suites(record, detail.checks)
    template = _environment().get_template("run.html.j2")
    return template.render(
        record=record,
        headline=headline(record),
        tone=tone(record),
        summary=summary(record),
        suites=suites,
        failed_checks=sum(s["failed"] for s in suites),
        drifting=len(drifted),
        drifted=drifted[:LARGE_CHARTS],
        others=columns[len(drifted[:LARGE_CHARTS]) :],
        table_findings=[f for f in detail.drift if f.column_name == ":table"],
        examples=detail.quarantine_examples,
        trends=_trends([*previous, record]) if previous else (),
    )


def render_index(records: Sequence[RunRecord], href: Callable[[RunRecord], str | None]) -> str:
    """The index over all runs of a pipeline as HTML text, newest first.

    Args:
        records: in any order; may be empty.
        href: the address of a run's page relative to the index, or None where there is none.
    """
    newest = sorted(records, key=_when, reverse=True)
    name = newest[0].name if newest else ""
    template = _environment().get_template("index.html.j2")
    return template.render(records=newest, name=name, href=href, trends=_trends(newest))


# --- what happened, in words ---------------------------------------------------------------------------


def headline(record: RunRecord) -> str:
    """The verdict in one line that needs no knowledge of the pipeline."""
    word, drift = STATUS_WORDS.get(record.status, record.status), _drift_words(record)
    if record.status == "published":
        return f"{word}, {drift}"
    if record.status == "already_published":
        return f"{word}: there was nothing to do"
    if record.status == "dry_run":
        return f"{word}: nothing was written"
    if record.status == "blocked":
        return f"{word}: {drift}"
    if record.status == "refused":
        return f"{word}: {_refusal(record)}"
    return f"{word}: {_message(record) or 'no message was recorded'}"


def tone(record: RunRecord) -> str:
    """``good``, ``warn``, ``bad`` or ``plain``: which colour and mark the verdict gets."""
    if record.status in ("already_published", "dry_run"):
        return "plain"
    if record.status != "published":
        return "bad"
    judged = record.drift.get("status") in ("ok", "none", None)
    return "good" if judged and not record.drift.get("columns") else "warn"


def summary(record: RunRecord) -> str:
    """Counts, model and time in one sentence; parts that are not known are left out."""
    rows, model = record.rows, record.model
    known = [k for k in ("read", "scored", "quarantined") if k in rows]
    counts = [f"{count(rows[k])} {'rows read' if k == 'read' else k}" for k in known]
    text = ", ".join(counts) or "No rows were read"
    if share := quarantined_share(record):
        text += f" ({percent(share)})"
    if model.get("name"):
        text += f"; model {model['name']}" + (f" version {model['version']}" if model.get("version") else "")
    if number(record.seconds.get("total")) is not None:
        text += f"; {seconds(record.seconds['total'])}"
    return f"{text}."


def quarantined_share(record: RunRecord) -> float | None:
    """Quarantined rows as a share (0 to 1) of the rows read; None where either is unknown."""
    read, quarantined = number(record.rows.get("read")), number(record.rows.get("quarantined"))
    return quarantined / read if read and quarantined is not None else None


def _drift_words(record: RunRecord) -> str:
    names = list(record.drift.get("columns") or ())
    if names:
        listed = ", ".join(clip(n, 40) for n in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"drift in {plural(len(names), 'column')}: {listed}{more}"
    words = {"ok": "no drift", "drift": "drift", "insufficient_data": "too little data to judge drift"}
    return words.get(str(record.drift.get("status")), "drift not measured")


def _refusal(record: RunRecord) -> str:
    share, limit = quarantined_share(record), number(record.checks.get("max_quarantined"))
    rows = f"{percent(share)} of rows quarantined"
    if share is not None and limit is not None and share > limit:
        return f"{rows}, limit {percent(limit)}"
    return _message(record) or (rows if share else "the data did not pass")


def _message(record: RunRecord) -> str:
    return clip((record.error or {}).get("message") or "", 200).rstrip(".")


def sentences(finding: DriftFinding) -> list[str]:
    """What a finding says, for a reader who does not know the statistics."""
    if finding.verdict == "insufficient_data":
        sizes = f"{count(finding.n_cur)} values against {count(finding.n_ref)} in the reference"
        return [f"Too little data to judge: {sizes}."]
    said = [_deciding(finding)]
    if finding.wasserstein_distance is not None and not finding.statistic.startswith("wasserstein"):
        said.append(STATISTICS["wasserstein"][2].replace("{}", figure(finding.wasserstein_distance)) + ".")
    said.append(_change("The mean", finding.avg_delta, days if finding.data_type in _TIMES else figure))
    said.append(_change("Empty values", finding.percent_null_delta, points))
    said.append(_change("Zeros", finding.percent_zeros_delta, points))
    return [s for s in said if s]


_TIMES = ("timestamp", "timestamp_ntz", "datetime", "date")


def _deciding(finding: DriftFinding) -> str:
    field, _, words = _statistic(finding.statistic)
    value = getattr(finding, field, None)
    if value is None:
        return ""
    limit = f"; the limit is {figure(finding.threshold)}" if finding.threshold is not None else ""
    return words.replace("{}", figure(value)) + limit + "."


def _statistic(name: str) -> tuple[str, str, str]:
    for key, entry in STATISTICS.items():
        if name in (key, entry[0]):
            return entry
    return name, name.replace("_", " "), name.replace("_", " ") + " is {}"


def _change(what: str, delta: Any, form: Callable[[Any], str]) -> str:
    value = number(delta)
    if not value:
        return ""
    return f"{what} {'rose' if value > 0 else 'fell'} by {form(abs(value))}."


def statistics(finding: DriftFinding) -> list[tuple[str, str, str]]:
    """(title, value, limit) of every distance that was computed; the limit where it decides the verdict."""
    rows = []
    for field, title, _ in STATISTICS.values():
        if (value := number(getattr(finding, field))) is None:
            continue
        decides = _statistic(finding.statistic)[0] == field
        # Distances on shares of frozen bins are exact; only this one looks between the edges.
        bounded = finding.error_bound and field == "ks_statistic"
        bound = f" ± {figure(finding.error_bound)}" if bounded else ""
        rows.append((title, figure(value) + bound, figure(finding.threshold) if decides else ""))
    return rows


# --- arrangement and geometry --------------------------------------------------------------------------


@dataclass(frozen=True)
class ColumnDrift:
    """All that is known of one column: its worst verdict, and the findings against each reference."""

    name: str
    verdict: str
    findings: tuple[DriftFinding, ...]
    distribution: Distribution | None


def column_drifts(
    findings: Sequence[DriftFinding], distributions: Sequence[Distribution]
) -> list[ColumnDrift]:
    """Findings grouped by column: drifted columns first, the furthest beyond its limit at the top."""
    grouped: dict[str, list[DriftFinding]] = {d.column: [] for d in distributions}
    for finding in findings:
        grouped.setdefault(finding.column_name, []).append(finding)
    grouped.pop(":table", None)
    plots = {d.column: d for d in distributions}
    columns = [ColumnDrift(n, _worst(f), tuple(f), plots.get(n)) for n, f in grouped.items()]
    return sorted(columns, key=_worst_first)


_VERDICTS = ("drift", "insufficient_data", "ok")  # the worst first


def _worst_first(column: ColumnDrift) -> tuple[int, float]:
    excess = max(map(_excess, column.findings), default=0.0) if column.verdict == "drift" else 0.0
    return _VERDICTS.index(column.verdict), -excess


def _worst(findings: Sequence[DriftFinding]) -> str:
    return min((f.verdict for f in findings), key=_VERDICTS.index, default="ok")


def _excess(finding: DriftFinding) -> float:
    value = number(getattr(finding, _statistic(finding.statistic)[0], None))
    return (value or 0.0) / (number(finding.threshold) or 1.0)


@dataclass(frozen=True)
class Histogram:
    """Outlines of both distributions in a box ``width`` x 100, and what each bar says when pointed at."""

    width: int
    bar: int
    top: float
    baseline: str
    current: str
    bars: tuple[tuple[int, str], ...]
    ends: tuple[str, ...]
    changes: str
    has_null: bool


def histogram(plot: Distribution) -> Histogram | None:
    """``plot`` as bars of equal width on one scale (bins are shares of the baseline, not lengths).

    The bin of empty values stands apart, and only where there are any. None where neither side has data.
    """
    bins = list(zip(plot.labels, plot.baseline, plot.current, strict=True))
    has_null = bool(bins) and bins[-1][0] == "null" and max(bins[-1][1:]) > 0
    if bins and bins[-1][0] == "null" and not has_null:
        bins.pop()
    top = max((max(b, c) for _, b, c in bins), default=0.0)
    if not top > 0:
        return None
    starts = [_BAR * i + (_GAP if has_null and i == len(bins) - 1 else 0) for i in range(len(bins))]
    largest = sorted(bins, key=lambda b: -abs(b[2] - b[1]))[:3]
    values = [n for n, _, _ in (bins[:-1] if has_null else bins)]
    return Histogram(
        width=starts[-1] + _BAR,
        bar=_BAR,
        top=top,
        baseline=_outline(starts, [b for _, b, _ in bins], top),
        current=_outline(starts, [c for _, _, c in bins], top),
        bars=tuple((x, f"{clip(n, 60)}: {_moved(b, c)}") for x, (n, b, c) in zip(starts, bins, strict=True)),
        ends=tuple(clip(n, 40) for n in dict.fromkeys((*values[:1], *values[-1:]))),
        changes="; ".join(f"{clip(n, 60)} {_moved(b, c)}" for n, b, c in largest if b != c) or "none",
        has_null=has_null,
    )


_BAR, _GAP = 10, 6


def _moved(baseline: float, current: float) -> str:
    return f"from {percent(baseline)} to {percent(current)}"


def _outline(starts: Sequence[int], shares: Sequence[float], top: float) -> str:
    path = ""
    for i, (start, share) in enumerate(zip(starts, shares, strict=True)):
        apart = i == 0 or start > starts[i - 1] + _BAR
        path += (f"V100M{start} 100" if apart else "") + f"V{100 - 96 * share / top:.0f}h{_BAR}"
    return path.removeprefix("V100") + "V100"


@dataclass(frozen=True)
class Trend:
    """One figure over the dates of the runs: a line in a box of 100 x 30, and its ends in words."""

    title: str
    path: str
    last: str
    low: str
    high: str
    first_date: str
    last_date: str


def _trends(records: Sequence[RunRecord]) -> list[Trend]:
    latest = {r.run_date: r for r in sorted(records, key=_when) if r.status != "dry_run"}
    shares = any(drifted_share(r) is not None for r in latest.values())
    kinds: list[tuple[str, Callable[[RunRecord], float | None], Callable[[Any], str]]] = [
        ("Rows read", lambda r: number(r.rows.get("read")), count),
        ("Quarantined", quarantined_share, percent),
        ("Drifted columns", *((drifted_share, percent) if shares else (_drifted_columns, count))),
        ("Duration", lambda r: number(r.seconds.get("total")), seconds),
    ]
    series = [(title, {d: value(r) for d, r in latest.items()}, form) for title, value, form in kinds]
    return [t for title, values, form in series if (t := _trend(title, values, form))]


def _trend(title: str, values: Mapping[str, float | None], form: Callable[[Any], str]) -> Trend | None:
    known = {d: v for d, v in values.items() if v is not None}
    if len(known) < 2:
        return None
    days, low, high = [_day(d) for d in known], min(known.values()), max(known.values())
    span, height = (max(days) - min(days)) or 1, (high - low) or 1
    across = [100 * (day - min(days)) / span for day in days]
    down = [26 - 22 * (value - low) / height for value in known.values()]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(across, down, strict=True))
    dates = list(known)
    return Trend(title, path, form(known[dates[-1]]), form(low), form(high), dates[0], dates[-1])


def drifted_share(record: RunRecord) -> float | None:
    """Drifted columns as a share (0 to 1) of the judged ones; None where drift was not measured."""
    judged = number(record.drift.get("judged"))
    return len(record.drift.get("columns") or ()) / judged if judged else None


def _drifted_columns(record: RunRecord) -> float | None:
    measured = record.drift.get("status") in ("ok", "drift")
    return float(len(record.drift.get("columns") or ())) if measured else None


def _day(text: str) -> int:
    return date.fromisoformat(text[:10]).toordinal()


def _when(record: RunRecord) -> tuple[str, str]:
    return str(record.run_date), str(record.started_at)


def _suites(record: RunRecord, checks: Sequence[CheckOutcome]) -> list[dict[str, Any]]:
    """Both suites with their outcomes; a suite that only the record knows has no outcomes."""
    suites = []
    for kind in ("input", "output"):
        outcomes = [c for c in checks if c.suite == kind]
        known = record.checks.get(kind)
        if outcomes or known:
            failed = sum(not c.success for c in outcomes) or len((known or {}).get("failed") or ())
            suites.append({"kind": kind, "known": known or {}, "outcomes": outcomes, "failed": failed})
    return suites


# --- figures in words ----------------------------------------------------------------------------------


def number(value: Any) -> float | None:
    """``value`` as a finite number; None for anything else (records read back hold NaN as text)."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if isfinite(found) else None


def count(value: Any) -> str:
    """A whole number with thousands separators."""
    found = number(value)
    return NOTHING if found is None else f"{found:,.0f}"


def plural(n: int, noun: str) -> str:
    """``1 column``, ``2 columns``."""
    return f"{count(n)} {noun}" + ("" if n == 1 else "s")


def percent(share: Any) -> str:
    """A share (0 to 1) as a percentage that never rounds to none or to all."""
    found = number(share)
    if found is None:
        return NOTHING
    if 0 < found < 0.0001:
        return "< 0.01 %"
    if 0.9999 < found < 1:
        return "> 99.99 %"
    digits = 0 if found in (0, 1) else 2 if found < 0.01 or found > 0.999 else 1
    return f"{100 * found:.{digits}f} %"


def points(delta: Any) -> str:
    """A difference of two percentages."""
    found = number(delta)
    return NOTHING if found is None else f"{figure(found)} percentage points"


def days(value: Any) -> str:
    """Seconds between two moments, as days."""
    found = number(value)
    return NOTHING if found is None else f"{figure(found / 86_400)} days"


def seconds(value: Any) -> str:
    """Seconds with two decimals below ten and one above."""
    found = number(value)
    return NOTHING if found is None else f"{found:,.{2 if abs(found) < 10 else 1}f} s"


def size(value: Any) -> str:
    """Bytes in decimal units."""
    found = number(value)
    if found is None:
        return NOTHING
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(found) < 1000:
            return f"{found:,.0f} {unit}" if unit == "bytes" else f"{found:,.1f} {unit}"
        found /= 1000
    return f"{found:,.1f} TB"


def figure(value: Any) -> str:
    """A measured number with about three significant digits."""
    found = number(value)
    if found is None:
        return NOTHING
    if found == 0 or abs(found) >= 100:
        return f"{found:,.0f}"
    return f"{found:.3g}" if abs(found) >= 0.001 else f"{found:.1e}"


def decimals(value: Any) -> str:
    """A measured number with three decimals, to stand in a column of its like."""
    found = number(value)
    return NOTHING if found is None else f"{found:,.3f}"


def clip(value: Any, limit: int = 120) -> str:
    """Any value as text of at most ``limit`` characters; None and NaN as a dash."""
    if value is None or (isinstance(value, float) and isnan(value)):
        return NOTHING
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipelines"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = (count, plural, percent, points, seconds, size, figure, decimals, clip, headline, tone, histogram)
    environment.filters |= {f.__name__: f for f in (*words, number, sentences, statistics, quarantined_share)}
    environment.globals["status_words"] = STATUS_WORDS
    return environment
