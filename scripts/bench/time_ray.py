"""Runs in an environment of its own, with Ray Data: scores a folder with a pickled model; prints seconds."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import ray  # type: ignore[import-not-found]


class Predictor:
    """One a core; loaded once."""

    def __init__(self, path: str, names: list[str]) -> None:
        self._model = pickle.loads(Path(path).read_bytes())
        self._names = names

    def __call__(self, frame: Any) -> Any:
        return frame[["id"]].assign(prediction=self._model.predict(frame[self._names]))


def main(source: str, model: str, target: str, cores: int, names: list[str]) -> None:
    """Twice: the first time warms up."""
    ray.init(num_cpus=3 * cores, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    files = sorted(str(f.absolute()) for f in Path(source).iterdir() if not f.name.startswith("_"))
    reader = ray.data.read_csv if files[0].endswith(".csv") else ray.data.read_parquet
    seconds = 0.0
    for _ in range(2):
        shutil.rmtree(target, ignore_errors=True)
        start = time.perf_counter()
        scored = reader(files).map_batches(
            Predictor, fn_constructor_args=(str(Path(model).absolute()), names), batch_format="pandas",
            batch_size=65_536, compute=ray.data.ActorPoolStrategy(size=cores), num_cpus=1,
        )  # fmt: skip
        scored.write_parquet(str(Path(target).absolute()))
        seconds = time.perf_counter() - start
    sys.stdout.write("\n" + json.dumps({"seconds": seconds}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:])
