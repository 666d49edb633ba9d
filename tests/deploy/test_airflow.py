"""The DAG, run by a real Airflow in an environment of its own: what follows from each of the job's exit codes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from batch_factory import DAY, day_of, lay_out, save_model, settings

ROOT = Path(__file__).resolve().parents[2]
# Airflow's own constraint files are not on the package index; these are what its DAG was tested with.
PINS = ("apache-airflow==3.3.2", "apache-airflow-providers-apache-spark==6.3.4")

pytestmark = [pytest.mark.platforms, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Ran:
    code: int
    log: str
    submitted: list[str]

    @property
    def states(self) -> list[str]:
        """What Airflow made of the tries of all tasks, in order."""
        return re.findall(r"new_state=(\w+)", self.log)


@pytest.fixture(scope="module")
def airflow() -> Path:
    """An environment with Airflow; made once and kept below ``build/``."""
    name = hashlib.sha256("\0".join([sys.version, *PINS]).encode()).hexdigest()[:12]
    place = ROOT / "build" / f"airflow-{name}"
    if not (place / "complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        uv = [sys.executable, "-m", "uv", "--quiet", "--system-certs"]
        subprocess.run([*uv, "venv", "--python", sys.executable, place], check=True)
        subprocess.run([*uv, "pip", "install", "--python", place / "bin" / "python", *PINS], check=True)
        (place / "complete").touch()
    return place


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("airflow")


@pytest.fixture(scope="module")
def ran(airflow: Path, home: Path) -> Callable[..., Ran]:
    """Runs the DAG once; ``spark_submit`` is a folder with the command that it finds."""
    base = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PYTHON", "VIRTUAL_ENV"))} | {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "conf" / "deploy" / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps({"conn_type": "spark", "host": "local[2]"}),
        "SCORELINE_HOME": str(home),
        "SCORELINE_CONFIG": str(home / "conf.yaml"),
        "SCORELINE_RETRY_SECONDS": "0.1",
    }
    command = str(airflow / "bin" / "airflow")
    subprocess.run([command, "db", "migrate"], env=base, check=True, capture_output=True)

    def run(spark_submit: Path, **more: str) -> Ran:
        env = base | more | {"PATH": f"{spark_submit}:{airflow / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(
            [command, "dags", "test", "scoreline", DAY],
            env=env, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        calls = home / "calls"
        submitted = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return Ran(done.returncode, done.stdout + done.stderr, submitted)

    return run


@pytest.fixture
def fake(home: Path) -> Path:
    """A spark-submit that notes its arguments and ends with $CODE."""
    script = home / "fake" / "spark-submit"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f'#!/bin/sh\necho "$@" >> {home}/calls\nexit "$CODE"\n')
    script.chmod(0o755)
    return script.parent


@pytest.mark.parametrize(
    ("code", "tries", "states"),
    [
        (0, 1, ["success", "success", "success"]),
        (65, 1, ["failed"]),
        (66, 4, ["up_for_retry"] * 3 + ["failed"]),
    ],
)
def test_each_exit_code_has_its_consequence(
    ran: Callable[..., Ran], fake: Path, code: int, tries: int, states: list[str]
) -> None:
    done = ran(fake, CODE=str(code))
    assert len(done.submitted) == tries
    assert done.states == states, done.log[-3000:]
    assert (done.code == 0) == (code == 0)
    assert done.submitted[0].endswith(f"--run-date {DAY}")


def test_a_real_run_with_drift_takes_the_branch(ran: Callable[..., Ran], home: Path) -> None:
    from scripts import package

    package.main(["--into", str(home), "--no-environment"])
    lay_out(home / "in", day_of(800, shift=3.0))
    drift = {"on_drift": "alert"}
    (home / "conf.yaml").write_text(yaml.safe_dump(settings(home, save_model(home / "model"), drift=drift)))
    done = ran(
        Path(sys.executable).parent, PYSPARK_PYTHON=sys.executable, PYSPARK_DRIVER_PYTHON=sys.executable
    )
    assert done.code == 0, done.log[-3000:]
    assert "Following branch {'drifted'}" in done.log
    assert list((home / "out" / "toy" / "predictions").rglob("*.parquet"))
