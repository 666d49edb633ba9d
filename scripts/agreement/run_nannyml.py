"""Runs in an environment of its own, with NannyML: distances of each column of each pair of a folder, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nannyml  # type: ignore[import-not-found]
import pandas as pd

NUMBERS = {
    "js_distance": "jensen_shannon",
    "wasserstein_distance": "wasserstein",
    "ks_statistic": "kolmogorov_smirnov",
}
TEXTS = {
    "js_distance": "jensen_shannon",
    "chi_squared_statistic": "chi2",
    "l_infinity_distance": "l_infinity",
}


def main(folder: Path) -> None:
    """Print one object: pair, column, statistic."""
    found = {p.name: _compared(p) for p in sorted(folder.iterdir()) if p.is_dir()}
    print(json.dumps(found))


def _compared(pair: Path) -> dict[str, Any]:
    reference, window = (pd.read_parquet(pair / f"{side}.parquet") for side in ("reference", "window"))
    found: dict[str, Any] = {}
    for column in reference:
        numeric = reference[column].dtype.kind == "f"
        methods = NUMBERS if numeric else TEXTS
        sides = [side[[column]].copy() for side in (reference, window)]
        found[column] = {s: _value(column, method, numeric, *sides) for s, method in methods.items()}
    return found


def _value(
    column: str, method: str, numeric: bool, reference: pd.DataFrame, window: pd.DataFrame
) -> float | str:
    try:
        calculator = nannyml.UnivariateDriftCalculator(
            column_names=[column],
            treat_as_numerical=[column] if numeric else [],
            treat_as_categorical=[] if numeric else [column],
            continuous_methods=[method] if numeric else ["jensen_shannon"],
            categorical_methods=["jensen_shannon"] if numeric else [method],
            chunk_number=1,
        )
        results = (
            calculator.fit(reference).calculate(window).filter(period="analysis").to_df(multilevel=False)
        )
        return float(results[f"{column}_{method}_value"].iloc[0])
    except Exception as error:  # what a tool cannot do is part of the answer
        return f"{type(error).__name__}: {error}"[:200]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
