"""``make study-agreement DATA=FOLDER``: our statistics beside those of SciPy, Evidently and NannyML on real data.

The two tools live in environments of their own below build/agreement, made on the first run; they are no
dependency of this project. Writes docs/drift-agreement.md and docs/drift-agreement.json.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import stats
from scipy.spatial.distance import jensenshannon

from pipelines import drift
from pipelines.drift.bins import cells
from pipelines.profiles import TableProfile, baseline_from_pandas, load_baseline
from pipelines.records import DriftFinding
from scripts.agreement import conventions
from scripts.agreement.data import MONTHS, SOURCES, Pair, pairs, taxi
from scripts.environments import environment
from scripts.study_drift import DOCS, page

HOME = Path("build/agreement")
TEMPLATE = Path("scripts/templates/drift-agreement.md.j2")
TOOLS = {
    "evidently": ("evidently==0.7.23", "pandas==2.3.3", "numpy==2.4.6", "scipy==1.17.1", "pyarrow"),
    "nannyml": (
        "nannyml==0.13.1",
        "pandas==2.3.3",
        "numpy==2.4.6",
        "scipy==1.17.1",
        "pyarrow",
        "statsmodels",
    ),
}
CLOSE = 1e-9
QUIET = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
Compared = tuple[TableProfile, TableProfile, dict[str, DriftFinding]]


@click.command()
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
def main(data: Path) -> None:
    """Run the study on a folder with the data sets (the page says where each comes from)."""
    given = list(pairs(data))
    for pair in given:
        folder = HOME / "pairs" / pair.name
        folder.mkdir(parents=True, exist_ok=True)
        pair.reference.to_parquet(folder / "reference.parquet")
        pair.window.to_parquet(folder / "window.parquet")
    theirs = {tool: _asked(tool) for tool in TOOLS}
    rows = [row for pair in given for row in _rows(pair, theirs)]
    study = {"rows": rows, "months": _months(data), "versions": {t: pins[0] for t, pins in TOOLS.items()}}
    DOCS.joinpath("drift-agreement.json").write_text(json.dumps(study) + "\n")
    figures = study | {"sources": SOURCES, "exact": _exact(rows), "explained": _explained(rows)}
    DOCS.joinpath("drift-agreement.md").write_text(page(TEMPLATE, figures))


def _asked(tool: str) -> dict[str, Any]:
    """A tool's figures by pair, column and statistic, from its own environment."""
    python = environment(HOME / tool, TOOLS[tool])
    script = Path("scripts/agreement") / f"run_{tool}.py"
    done = subprocess.run(
        [python, script, HOME / "pairs"], check=True, stdout=subprocess.PIPE, env=os.environ | QUIET
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compared(reference: pd.DataFrame, window: pd.DataFrame) -> Compared:
    """Both profiles, and our findings by column."""
    base = load_baseline(baseline_from_pandas(reference))
    current = TableProfile.empty(base.specs)
    current.update({name: pa.array(window[name], from_pandas=True) for name in window})
    return base, current, {f.column_name: f for f in drift.compare(base, current)}


def _rows(pair: Pair, theirs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    base, current, findings = compared(pair.reference, pair.window)
    for column in pair.reference:
        sides = pair.reference[column], pair.window[column]
        p, q = cells(base.columns[column], current.columns[column])
        exact = conventions.scipy(*sides) | {"js_distance": float(jensenshannon(p, q, 2))}
        if sides[0].dtype.kind != "f" and "l_infinity_distance" in exact:
            exact["chi_squared_statistic"] = _chi_squared(base, current, column)
        yield {
            "pair": pair.name,
            "column": column,
            "kind": "number" if sides[0].dtype.kind == "f" else "text",
            "ours": _figures(findings[column], base, current),
            "scipy": exact,
            "present": float(jensenshannon(p[:-1], q[:-1], 2)) if p[:-1].any() and q[:-1].any() else None,
            "theirs": {tool: theirs[tool][pair.name][column] for tool in TOOLS},
            "expected": {"evidently": conventions.evidently(*sides), "nannyml": conventions.nannyml(*sides)},
        }


def _figures(finding: DriftFinding, base: TableProfile, current: TableProfile) -> dict[str, Any]:
    names = (
        "js_distance",
        "wasserstein_distance",
        "ks_statistic",
        "chi_squared_statistic",
        "l_infinity_distance",
    )
    found: dict[str, Any] = {n: getattr(finding, n) for n in names} | {"verdict": finding.verdict}
    if finding.wasserstein_distance is not None and finding.ks_statistic is not None:
        ref = base.columns[finding.column_name]
        area = drift.wasserstein(ref, current.columns[finding.column_name])
        found["bounds"] = {
            "ks_statistic": finding.error_bound,
            "wasserstein_distance": area.bound / (ref.stddev or 1),
        }
    return found


def _chi_squared(base: TableProfile, current: TableProfile, column: str) -> float:
    table = np.array([base.columns[column].bins, current.columns[column].bins])
    return float(stats.chi2_contingency(table[:, table.any(axis=0)], correction=False).statistic)


def _exact(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per statistic: how far ours is from SciPy's, and how far it may be."""
    result = []
    for name in ("js_distance", "chi_squared_statistic", "ks_statistic", "wasserstein_distance"):
        held = [r for r in rows if r["ours"].get(name) is not None and name in r["scipy"]]
        off = [abs(r["ours"][name] - r["scipy"][name]) for r in held]
        room = [r["ours"].get("bounds", {}).get(name, 0.0) for r in held]
        result.append({
            "statistic": name, "columns": len(held), "equal": sum(d <= CLOSE for d in off), "largest": max(off),
            "bound": max(room), "median_bound": float(np.median(room)),
            "beyond": sum(d > b + CLOSE for d, b in zip(off, room, strict=True)),
        })  # fmt: skip
    return result


def _explained(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per tool and statistic: in how many columns its figure is what its conventions give."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for tool, figures in row["theirs"].items():
            for name, value in figures.items():
                found.setdefault((tool, name), []).append(_outcome(value, row["expected"][tool].get(name)))
    kinds = ("equal", "none", "other")
    return [{"tool": t, "statistic": n} | {k: o.count(k) for k in kinds} for (t, n), o in found.items()]


def _outcome(theirs: float | str, expected: float | None) -> str:
    if isinstance(theirs, str) or np.isnan(theirs):
        return "none"
    close = expected is not None and abs(theirs - expected) <= CLOSE * max(1.0, abs(theirs))
    return "equal" if close else "other"


def _months(data: Path) -> list[dict[str, Any]]:
    """Our verdicts on every month against the first."""
    first = taxi(data, MONTHS[0])
    told = []
    for month in MONTHS[1:]:
        *_, findings = compared(first, taxi(data, month))
        drifted = {
            n: (f.statistic, getattr(f, f.statistic)) for n, f in findings.items() if f.verdict == "drift"
        }
        told.append({"month": month, "table": findings[drift.TABLE].verdict, "columns": drifted})
    return told


if __name__ == "__main__":
    main()
