"""Runs in an environment of its own, with Evidently: distances of each column of each pair of a folder, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from evidently import DataDefinition, Dataset, Report  # type: ignore[import-not-found]
from evidently.metrics import ValueDrift  # type: ignore[import-not-found]

NUMBERS = {"js_distance": "jensenshannon", "wasserstein_distance": "wasserstein", "ks_pvalue": "ks",
           "population_stability_index": "psi"}  # fmt: skip
TEXTS = {"js_distance": "jensenshannon", "chi_squared_pvalue": "chisquare",
         "population_stability_index": "psi"}  # fmt: skip


def main(folder: Path) -> None:
    """Print one object: pair, column, statistic."""
    found = {p.name: _compared(p) for p in sorted(folder.iterdir()) if p.is_dir()}
    print(json.dumps(found))


def _compared(pair: Path) -> dict[str, Any]:
    sides = [pd.read_parquet(pair / f"{side}.parquet") for side in ("reference", "window")]
    numbers = [c for c in sides[0] if sides[0][c].dtype.kind == "f"]
    texts = [c for c in sides[0] if c not in numbers]
    about = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    reference, window = (Dataset.from_pandas(side, data_definition=about) for side in sides)
    return {c: _column(c, NUMBERS if c in numbers else TEXTS, reference, window) for c in sides[0]}


def _column(column: str, methods: dict[str, str], reference: Dataset, window: Dataset) -> dict[str, Any]:
    try:
        report = Report([ValueDrift(column=column, method=method) for method in methods.values()])
        values = [metric["value"] for metric in report.run(window, reference).dict()["metrics"]]
    except ValueError as error:  # what a tool cannot do is part of the answer
        return {statistic: str(error)[:200] for statistic in methods}
    return {statistic: float(value) for statistic, value in zip(methods, values, strict=True)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
