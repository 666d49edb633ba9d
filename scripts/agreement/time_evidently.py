"""Runs in an environment of its own, with Evidently: its drift preset on all columns of two tables; prints seconds."""

from __future__ import annotations

import json
import sys
import time

import pandas as pd
from evidently import DataDefinition, Dataset, Report  # type: ignore[import-not-found]
from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]


def main(reference_path: str, window_path: str, names: list[str]) -> None:
    """Imports do not count, reading the window does: a team would keep the process warm and the reference loaded."""
    reference = pd.read_parquet(reference_path, columns=names)
    start = time.perf_counter()
    window = pd.read_parquet(window_path, columns=names)
    about = DataDefinition(numerical_columns=names)
    sides = [Dataset.from_pandas(side, data_definition=about) for side in (window, reference)]
    Report([DataDriftPreset()]).run(*sides).dict()
    sys.stdout.write(json.dumps({"seconds": time.perf_counter() - start, "rows": len(window)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
