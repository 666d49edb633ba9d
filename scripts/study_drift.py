"""``make study-drift``: how often drift verdicts cry wolf, and which shifts they find from which size on.

Writes docs/drift-study.md and docs/drift-study.json. Seeds are fixed, so that it gives the same on any machine.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import jinja2
import numpy as np

from pipelines import drift
from pipelines.profiles import ColumnSpec, ColumnState, TableProfile
from scripts.populations import SHIFTS, SMALL, TABLE, Population, sample

DOCS = Path("docs")
TEMPLATE = Path("scripts/templates/drift-study.md.j2")
EQUAL = (100, 1_000, 10_000, 100_000, 1_000_000)
TRAINED_ON = 10_000  # rows of the reference where it is not as large as the window
SIZES = [(n, n) for n in EQUAL] + [(TRAINED_ON, n) for n in EQUAL if n != TRAINED_ON]
GRID = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 1_000_000)
POWER = 0.95
Finding = tuple[str, str, str]  # column, verdict, deciding statistic
CHUNK = 25  # tables per task of a worker
# In the study of power one column is looked at; it is judged as one of a table's twenty.
OTHERS = {n: ColumnState.empty(ColumnSpec(n, "numeric", "double")) for n in list(TABLE)[1:]}


@click.command()
@click.option("--runs", default=1_000, show_default=True, help="Tables without drift per size.")
@click.option("--shifts", default=200, show_default=True, help="Windows per shift and size.")
@click.option("--workers", default=os.cpu_count() or 1, show_default="number of cores")
def main(runs: int, shifts: int, workers: int) -> None:
    """Run the study and write its two files."""
    started = time.monotonic()
    with ProcessPoolExecutor(workers) as pool:
        alarms = [_false_alarms(pool.map(partial(_tables, size), _chunks(runs)), size) for size in SIZES]
        found, small = (
            [
                _row(name, pool.map(partial(_power, *case, windows=shifts), GRID))
                for name, case in cases.items()
            ]
            for cases in (SHIFTS, SMALL)
        )
    about = {"runs": runs, "windows": shifts, "columns": len(TABLE), "sizes": GRID}
    study = about | {"false_alarms": alarms, "power": found, "small": small}
    DOCS.joinpath("drift-study.json").write_text(json.dumps(study, indent=1) + "\n")
    DOCS.joinpath("drift-study.md").write_text(page(TEMPLATE, study | {"populations": list(TABLE)}))
    click.echo(f"wrote {DOCS}/drift-study.md and .json after {time.monotonic() - started:.0f} s", err=True)


def page(template: Path, figures: Mapping[str, Any]) -> str:
    """A study's page in Markdown."""
    undefined = jinja2.StrictUndefined
    lines = jinja2.Environment(  # noqa: S701 - Markdown, not HTML
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=undefined
    )
    return lines.from_string(template.read_text()).render(figures)


def table_of(rng: np.random.Generator, rows: int, like: TableProfile | None = None) -> TableProfile:
    """A profile of a table of all populations: a reference, or a window counted like one."""
    columns = {}
    for name, population in TABLE.items():
        state = sample(rng, population, rows, like.columns[name].spec if like else None)
        columns[name] = state if like else _named(state, name)
    return TableProfile(columns)


def _named(state: ColumnState, name: str) -> ColumnState:
    return replace(state, spec=replace(state.spec, name=name))


def _chunks(runs: int) -> Iterable[range]:
    return [range(start, min(start + CHUNK, runs)) for start in range(0, runs, CHUNK)]


def _tables(size: tuple[int, int], seeds: range) -> list[list[Finding]]:
    """Column, verdict and deciding statistic of every finding, table by table; the table itself comes first."""
    told: list[list[Finding]] = []
    for seed in seeds:
        rng = np.random.default_rng([seed, *size])
        reference = table_of(rng, size[0])
        findings = drift.compare(reference, table_of(rng, size[1], reference))
        told.append([(f.column_name, f.verdict, f.statistic) for f in findings])
    return told


def _false_alarms(chunks: Iterable[list[list[Finding]]], size: tuple[int, int]) -> dict[str, Any]:
    tables = [table for chunk in chunks for table in chunk]
    wrong = [[f for f in table[1:] if f[1] == "drift"] for table in tables]
    columns = Counter(f[1] for table in tables for f in table[1:])
    return {
        "n_ref": size[0],
        "n_cur": size[1],
        "tables": len(tables),
        "tables_drift": sum(table[0][1] == "drift" for table in tables),
        "tables_with_an_alarm": sum(map(bool, wrong)),
        "alarms": dict(Counter(f"{f[0]} ({f[2]})" for found in wrong for f in found)),
        "ok": columns["ok"] / columns.total(),
        "insufficient_data": columns["insufficient_data"] / columns.total(),
    }


def _power(of: str, to: Population, rows: int, windows: int) -> tuple[float, float, float]:
    """Share of windows that drift, and their mean distances (NaN where there is none)."""
    found = []
    for seed in range(windows):
        rng = np.random.default_rng([seed, rows])
        reference = _named(sample(rng, TABLE[of], rows), "x")
        window = TableProfile({"x": sample(rng, to, rows, reference.spec)})
        finding = drift.compare(TableProfile({"x": reference, **OTHERS}), window)[1]
        found.append((finding.verdict == "drift", finding.js_distance, finding.wasserstein_distance))
    drifted, js, area = np.array(found, float).mean(axis=0).tolist()
    return drifted, js, area


def _row(name: str, cells: Iterable[tuple[float, float, float]]) -> dict[str, Any]:
    """``from_n``: the smallest size from which on the power is enough at every size."""
    drifted, js, area = zip(*cells, strict=True)
    weak = [n for n, share in zip(GRID, drifted, strict=True) if share < POWER]
    enough = [n for n in GRID if not weak or n > max(weak)]
    distances = {"js_distance": js[-1], "wasserstein_distance": None if np.isnan(area[-1]) else area[-1]}
    return {"shift": name, "drift": drifted, "from_n": enough[0] if enough else None, **distances}


if __name__ == "__main__":
    main()
