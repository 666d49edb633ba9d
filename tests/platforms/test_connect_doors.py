"""The commands as the client of a Spark Connect server: no Java is asked for, and the server outlives them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from batch_factory import DAY
from conftest import Site
from connect_server import Server
from model_factory import save, signature
from platform_models import Sleeping
from processes import ROOT

pytestmark = [pytest.mark.platforms, pytest.mark.timeout(1500)]


def started(site: Site, home: Path, env: Mapping[str, str], uri: str) -> subprocess.Popen[str]:
    home.mkdir(parents=True)
    tree = site.tree("doors", home.name, model={"uri": uri, "allow_pickle": True})
    del tree["run_date"]
    (home / "conf.json").write_text(json.dumps(tree))
    command = [sys.executable, "-m", "jobs.run_batch", "--config", str(home / "conf.json"), "--run-date", DAY]
    return subprocess.Popen(
        command, cwd=ROOT, env=dict(env), text=True, stdout=subprocess.PIPE, stderr=(home / "log").open("w")
    )


def test_the_command_takes_the_server_from_its_environment(
    site: Site, server: Server, tmp_path: Path
) -> None:
    process = started(site, tmp_path / "plain", server.client(tmp_path), str(site.home / "toy-model"))
    out, _ = process.communicate(timeout=400)
    assert process.returncode == 0, (tmp_path / "plain" / "log").read_text()[-3000:]
    (line,) = out.splitlines()
    assert json.loads(line)["spark"]["engine_reason"] == "Spark Connect gives no analyzed plan"
    assert len(pd.read_parquet(site.root("doors", "plain") / "predictions")) == 897


BOTH_CORES = """
from pyspark.sql import SparkSession
frame = SparkSession.builder.getOrCreate().range(0, 2, 1, 2)
frame.mapInPandas(lambda batches: batches, "id long", barrier=True).collect()
"""  # tasks of a barrier begin together or not at all


@pytest.mark.parametrize("seconds", [0, 0.1, 0.3, 5], ids="{} s into its pass".format)
def test_a_command_that_is_stopped_takes_its_job_along_and_publishes_nothing(
    site: Site, server: Server, tmp_path: Path, seconds: float
) -> None:
    model = save(
        Sleeping(), tmp_path / "m", signature({"a": "double", "b": "double"}, {"prediction": "double"})
    )
    process = started(site, tmp_path / "stopped", server.client(tmp_path), model)
    log, end = tmp_path / "stopped" / "log", time.monotonic() + 300
    while "INFO score" not in log.read_text() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(seconds)  # the server has begun the job only after 5 s for sure
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=250)  # the model would take an hour
    assert process.returncode == 143, log.read_text()[-3000:]
    assert json.loads(out)["error"]["message"] == "stopped by SIGTERM."
    assert not list(site.root("doors", "stopped").glob("predictions/*"))
    env = dict(server.client(tmp_path))
    subprocess.run([sys.executable, "-c", BOTH_CORES], env=env, check=True, timeout=100)
