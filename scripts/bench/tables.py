"""From kept results to one page that a person reads: docs/benchmarks/README.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.bench.cases import KINDS
from scripts.bench.measure import Series, median, ratio, spread, steps

RESULTS = Path("docs/benchmarks")
BASE = "spark_udf"
_FLOOR = "floor: pyarrow + model, one process per core"
_TITLES = {
    "cold": "Cold: the whole process, by spark-submit",
    "warm": "Warm: in a session that has run before",
    "floor": "How near the floor: what pyarrow and the model alone take, with a process for each core",
    "stages": "Where the time goes",
    "drift": "What drift adds",
    "scale": "Ten times the rows",
}
_INTRODUCTION = """# Benchmarks

Made by `make bench` (a usual set) and `make bench-all` (the matrix); one JSON file beside this page for each table.
Every round runs each contender once, in turn. Seconds are medians over the rounds, ratios are medians of the ratios
within a round, with the smallest and the largest in brackets. A run of Scoreline is all of it: registry, planning,
scoring, audit, metric tables, page, MLflow run. *Audited*: 42 expectations on inputs, 6 on outputs, drift of every
column. *No audit* has no expectations and no baseline: it finds ranges and values of every column by itself. *Scoring
alone* reads, looks for keys and values that cannot be scored, predicts and writes: no expectations, and the bench takes
the profile's columns away, which no setting does. The floor's time is compared with that of the stage `score`: all that
is done for rows, but not planning, judging and reporting, which take the same time whatever the rows.
"""


def write_page() -> None:
    """Generate the page from all results that are kept."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    results = [json.loads(p.read_text("utf-8")) for p in sorted(RESULTS.glob("*.json"))]
    (RESULTS / "README.md").write_text(page(results), "utf-8")


def page(results: Iterable[Mapping[str, Any]]) -> str:
    """The page; one section for each kind of measurement there is."""
    found = list(results)
    parts = [_INTRODUCTION]
    for kind in sorted({r["kind"] for r in found}, key=KINDS.index):
        parts.append(f"## {_TITLES[kind]}\n")
        parts += [section(r) for r in found if r["kind"] == kind]
    return "\n".join(parts)


def section(result: Mapping[str, Any]) -> str:
    """Title, machine and table of one result."""
    types = "doubles" if result["types"] == "double" else "columns (doubles, whole numbers, texts)"
    title = f"### {result['model']}, {result['form']}, {result['rows']:,} rows x {result['columns']} {types}"
    about = f"{result['rounds']} rounds; {result['machine']}; {result['date']}."
    make: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = {
        "stages": _stages,
        "drift": _drift,
        "scale": _scale,
        "floor": _floor,
    }
    whole = not result.get("absent") or result["kind"] not in make
    lines = make.get(result["kind"], _peers)(result) if whole else []
    lines += [f"\nNot there: {name}, because {why}" for name, why in result.get("absent", {}).items()]
    return "\n".join([title, "", about, "", *lines, ""])


def _peers(result: Mapping[str, Any]) -> list[str]:
    series: Mapping[str, Series] = result["series"]
    base, floor = series.get(BASE, {}).get("seconds"), series.get(_FLOOR)
    head = ["what", "seconds", "rows/s", f"time / {BASE}'s"]
    cold = result["kind"] == "cold"
    rows = []
    for name, one in series.items():
        seconds = one["seconds"]
        cells = [name, f"{median(seconds):.2f}", f"{result['rows'] / median(seconds):,.0f}"]
        cells.append(_compared(seconds, base))
        cells += [_cpu(one)] if cold else []
        cells += [_of_floor(one, floor)] if floor else []
        rows.append(cells)
    head += ["processor seconds"] if cold else []
    head += ["floor's time / scoring's"] if floor else []
    lines = table(head, rows)
    return [*lines, *(_budget(series) if cold else [])]


def _compared(seconds: list[float], base: list[float] | None) -> str:
    if base is None:
        return ""
    low, high = spread(seconds, base)
    return f"{ratio(seconds, base):.2f} ({low:.2f} to {high:.2f})"


def _of_floor(one: Series, floor: Series) -> str:
    """How near the scoring stage, or what has no stages, comes to the floor: 1 is as fast."""
    scoring = one.get("stage.score", one["seconds"])
    return f"{ratio(floor['seconds'], scoring):.2f}"


def _cpu(one: Series) -> str:
    return f"{median(one['cpu']):.1f}" if "cpu" in one else ""


def _budget(series: Mapping[str, Series]) -> list[str]:
    """Where a cold run's seconds are, by the stages of its record."""
    runs = {n: s for n, s in series.items() if "stage.total" in s}
    stages = [k for k in next(iter(runs.values()), {}) if k.startswith("stage.") and k != "stage.total"]
    rows = []
    for name, one in runs.items():
        told = [median(one[k]) for k in stages]
        total = median(one["stage.total"])
        rest = [f"{total - sum(told):.2f}", f"{median(one['seconds']) - total:.2f}"]
        rows.append([name, *(f"{t:.2f}" for t in told), *rest])
    head = ["seconds by stage", *(s.removeprefix("stage.") for s in stages), "between", "after the record"]
    return ["", *table(head, rows)] if rows else []


def _stages(result: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for engine, title in (("udf", "Spark reads and writes"), ("scan", "Workers read and write")):
        mine = {
            n.partition("/")[2]: s["seconds"]
            for n, s in result["series"].items()
            if n.startswith(f"{engine}/")
        }
        if not mine:
            continue
        whole = median(list(mine.values())[-1])
        rows = [[name, f"{cost:.2f}", f"{cost / whole:.0%}"] for name, cost in steps(mine).items()]
        lines += [
            "",
            *table([title, "seconds", "share"], [*rows, ["the whole audited run", f"{whole:.2f}", "100%"]]),
        ]
    note = "Each line is the difference between a contender that does this, too, and the one before that does not."
    return [
        note,
        "Below zero: both do the same but differently, or the difference is smaller than the noise.",
        *lines,
    ]


def _drift(result: Mapping[str, Any]) -> list[str]:
    (without, least), (with_it, most) = result["series"].items()
    low, high = spread(most["seconds"], least["seconds"])
    added = ratio(most["seconds"], least["seconds"]) - 1
    rows = [[n, f"{median(s['seconds']):.2f}"] for n, s in ((without, least), (with_it, most))]
    told = f"Drift of {result['columns']} columns adds {added:.1%} ({low - 1:.1%} to {high - 1:.1%}) to the run's time."
    return [told, "No setting leaves the profile out; for this comparison alone the bench takes its columns away.", "",
            *table(["what", "seconds"], rows)]  # fmt: skip


def _floor(result: Mapping[str, Any]) -> list[str]:
    series: Mapping[str, Series] = result["series"]
    rows = []
    for name, one in series.items():
        scoring = one.get("stage.score", one["seconds"])
        low, high = spread(series[_FLOOR]["seconds"], scoring)
        near = f"{ratio(series[_FLOOR]['seconds'], scoring):.2f} ({low:.2f} to {high:.2f})"
        rows.append([name, f"{median(one['seconds']):.2f}", f"{median(scoring):.2f}", near])
    return table(["what", "seconds", "of them scoring", "floor's time / scoring's"], rows)


def _scale(result: Mapping[str, Any]) -> list[str]:
    (_, small), (_, large) = result["series"].items()
    low, high = spread(large["seconds"], small["seconds"])
    times = ratio(large["seconds"], small["seconds"])
    told = f"Ten times the rows take {times:.2f} times as long ({low:.2f} to {high:.2f})."
    head = ["what", "seconds", "worker, peak MB", "driver, peak MB", "JVM, peak MB"]
    keys = ("peak_worker_rss_mb", "driver_peak_mb", "jvm_peak_mb")
    rows = [
        [name, f"{median(s['seconds']):.2f}", *(f"{median(s[k]):.0f}" for k in keys)]
        for name, s in result["series"].items()
    ]
    return [told, "", *table(head, rows)]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table, the first column to the left."""
    rule = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
