"""A run killed when most of it is done scores only the rest again, counted by the model itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from tests.model_factory import save, signature

pytestmark = pytest.mark.faults
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no tests to import
ROOT = Path(__file__).resolve().parents[2]
DAY, FILES, ROWS = "2026-11-22", 40, 25

# A run whose input is cut into one unit per file, as a large one would be.
RUN = """
import sys
from pipelines import load_config, part_pass, run_batch
from pipelines.scoring import units
from pipelines.session import session
units._SMALLEST = part_pass.PART_BYTES = 1
run_batch(load_config(sys.argv[1], run_date=sys.argv[2]), session("resume", {"spark.master": "local[1]"}))
"""


class Counting:
    """0 after a while; notes the keys of the rows it was given, one file per call."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def predict(self, table: Any) -> Any:
        time.sleep(0.1)
        path = Path(self.folder) / f"{time.time_ns()}-{os.getpid()}"
        path.write_text(json.dumps(table["id"].astype(int).tolist()))
        return np.zeros(len(table))


def lay_out(home: Path, engine: str) -> Path:
    (home / "in").mkdir(parents=True)
    (home / "calls").mkdir()
    for i in range(FILES):
        frame = pd.DataFrame({"id": np.arange(ROWS) + ROWS * i, "x": 1.0})
        frame.to_parquet(home / "in" / f"{i:02d}.parquet", index=False)
    model = save(
        Counting(str(home / "calls")),
        home / "m",
        signature({"id": "double", "x": "double"}, {None: "double"}),
    )
    body = {
        "name": "resume",
        "model": {"uri": str(model), "allow_pickle": True},
        "source": {"format": "parquet", "path": str(home / "in"), "key": ["id"]},
        "drift": {"baseline": "none"},
        "scoring": {"engine": engine},
        "sink": {"path": str(home / "out")},
        "tracking_uri": f"sqlite:///{home}/mlflow.db",
    }
    path = home / "conf.yaml"
    path.write_text(yaml.safe_dump(body))
    return path


def start(config: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", RUN, str(config), DAY]
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True)


def seen(home: Path) -> list[int]:
    return [key for file in (home / "calls").iterdir() for key in json.loads(file.read_text() or "[]")]


@pytest.mark.parametrize("engine", ["scan", "udf"])
def test_a_run_killed_at_ninety_percent_scores_little_again(tmp_path: Path, engine: str) -> None:
    config = lay_out(tmp_path, engine)
    first = start(config)
    end = time.monotonic() + 300
    while len(list((tmp_path / "out").glob("resume/_work/*/units/*/[!.]*"))) < 0.9 * FILES:
        assert first.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)  # the driver, its JVM and its workers
    first.wait()
    before = seen(tmp_path)
    for file in (tmp_path / "calls").iterdir():
        file.unlink()

    assert start(config).wait(300) == 0
    again = seen(tmp_path)
    assert len(again) <= 0.15 * FILES * ROWS
    assert set(before) | set(again) == set(range(FILES * ROWS))
    table = pq.read_table(tmp_path / "out" / "resume" / "predictions")
    assert sorted(table["id"].to_pylist()) == list(range(FILES * ROWS))
    (record,) = (tmp_path / "out" / "resume" / "runs").rglob("*.json")
    assert json.loads(record.read_text())["spark"]["resumed_rows"] >= 0.85 * FILES * ROWS
