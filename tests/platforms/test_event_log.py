"""What Spark's history server shows of a run: its event log names the stage of each job."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from batch_factory import DAY, configure, day_of, lay_out, save_model
from processes import ROOT, SUBMIT, environment

pytestmark = pytest.mark.platforms


def test_the_event_log_of_a_run_names_the_stage_of_each_of_its_jobs(tmp_path: Path) -> None:
    lay_out(tmp_path / "in", day_of(100))
    conf = configure(tmp_path, save_model(tmp_path / "model"))
    (logs := tmp_path / "events").mkdir()
    wanted = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": logs.as_uri(),
        "spark.eventLog.compress": "false",
    }
    settings = [part for key, value in wanted.items() for part in ("--conf", f"{key}={value}")]
    done = subprocess.run(
        [SUBMIT, "--master", "local[2]", *settings, "jobs/run_batch.py", "--config", conf, "--run-date", DAY],
        cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for file in logs.rglob("events_*") for line in file.read_text().splitlines()]
    events = [json.loads(line) for line in lines]
    ours = [e["Properties"] for e in events if e["Event"] == "SparkListenerJobStart"]
    told = {p["spark.job.description"] for p in ours if p.get("spark.jobGroup.id") == "scoreline:toy"}
    assert told
    assert {text.rpartition(": ")[0] for text in told} == {f"scoreline toy {DAY}"}
    assert f"scoreline toy {DAY}: score" in told
