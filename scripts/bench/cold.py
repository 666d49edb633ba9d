"""Cold: each contender is a fresh ``spark-submit``, from the command to the end of the process.

The page cache is left as it is: the files of the libraries are in memory after the first round.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from pipelines.java import driver_options, find_java
from scripts.bench import inputs
from scripts.bench.cases import DAY, HOME, Case
from scripts.bench.measure import Contender

_LIMIT = 600  # seconds that one process may take


def contenders(case: Case) -> dict[str, Contender]:
    """The audited run, the run without suites, and the bare script."""
    return {
        "spark_udf": lambda: _bare(case),
        "scoreline, drift only": lambda: _run(case, suites_too=False),
        "scoreline, audited": lambda: _run(case, suites_too=True),
    }


def submit(
    script: str, *arguments: str, master: str, log: Path, conf: Mapping[str, str] | None = None
) -> tuple[str, dict[str, float]]:
    """Run a script by spark-submit; what it printed, and the processor seconds it took.

    Raises:
        RuntimeError: it failed; the message has the end of its log.
    """
    import pyspark

    options = ["--master", master, "--conf", "spark.ui.enabled=false", "--driver-memory", "2g"]
    options += ["--conf", f"spark.driver.extraJavaOptions={driver_options()}"]
    options += [part for key, value in (conf or {}).items() for part in ("--conf", f"{key}={value}")]
    spark_home = Path(pyspark.__file__).parent
    environment = os.environ | {
        "JAVA_HOME": str(find_java()),
        "SPARK_HOME": str(spark_home),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with log.open("w") as errors:
        command = [str(spark_home / "bin" / "spark-submit"), *options, script, *arguments]
        done = subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            timeout=_LIMIT,
            check=False,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(
            f"{script} ended with {done.returncode}:\n{log.read_text()[-3000:]}\n{done.stdout[-2000:]}"
        )
    return done.stdout, {"cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def _bare(case: Case) -> dict[str, float]:
    target = HOME / "udf-out"
    places = [f"file://{p.absolute()}" for p in (case.data, target)]
    asked = [case.uri, inputs.REGISTRY, case.form, inputs.spark_schema(case), *places]
    _, figures = submit(
        "scripts/bench/bare_udf.py", *asked, master=f"local[{case.cores}]", log=HOME / "bare.log"
    )
    return figures


def _run(case: Case, *, suites_too: bool) -> dict[str, float]:
    shutil.rmtree(HOME / "out", ignore_errors=True)
    path = HOME / f"cold{'-audited' if suites_too else ''}.yaml"
    path.write_text(yaml.safe_dump(inputs.configuration(case, suites_too=suites_too)), "utf-8")
    asked = ["--config", str(path), "--run-date", DAY]
    out, figures = submit("jobs/run_batch.py", *asked, master=f"local[{case.cores}]", log=HOME / "run.log")
    record = json.loads(out.strip().splitlines()[-1])
    return figures | {f"stage.{k}": float(v) for k, v in record["seconds"].items()}
