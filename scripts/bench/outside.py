"""Peers in environments of their own: Ray Data, and Evidently beside stock Great Expectations.

One that cannot be installed, or fails, is named with its reason in the table; the other figures stand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from scripts.bench import inputs
from scripts.bench.cases import HOME, Case
from scripts.bench.measure import Contender, Missing
from scripts.environments import environment
from scripts.study_agreement import QUIET, TOOLS

EVIDENTLY_ROWS = 200_000
_RAY = "ray[data]==2.56.1"
_ALSO = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "cloudpickle", "lightgbm", "xgboost-cpu")
_PATIENCE = 300.0  # seconds; one that takes longer is left out


def contenders(case: Case, frame: Callable[[], Any], stock: Callable[[], Any]) -> dict[str, Contender]:
    """Both peers; the second one only where all columns are doubles, as its table of facts is."""
    found: dict[str, Contender] = {"Ray Data": lambda: ray(case)}
    if not case.mixed:
        found["spark_udf + stock GX + Evidently"] = lambda: evidently(case, frame, stock)
    return found


def ray(case: Case) -> dict[str, float]:
    """Ray Data with an actor per core; neither its start nor the actors' imports count.

    Raises:
        Missing: it cannot be installed or does not run.
    """
    pins = (_RAY, *(f"{name}=={version(name)}" for name in _ALSO))
    asked = [str(case.data), str(inputs.pickled(case)), str(HOME / "ray-out"), str(case.cores)]
    return _timed("ray", pins, ["scripts/bench/time_ray.py", *asked, *inputs.names(case.columns)])


def evidently(case: Case, frame: Callable[[], Any], stock: Callable[[], Any]) -> dict[str, float]:
    """spark_udf + stock Great Expectations, then Evidently's drift preset on the part of the input that it takes in
    reasonable time; without imports.

    Raises:
        Missing: Evidently cannot be installed or does not run.
    """
    start = time.perf_counter()
    stock()
    spent = time.perf_counter() - start
    window = HOME / f"window-{case.stem}.parquet"
    if not window.exists():
        frame().limit(EVIDENTLY_ROWS).toPandas().to_parquet(window)
    asked = [str(inputs.reference(case)), str(window), *inputs.names(case.columns)]
    own = _timed("evidently", TOOLS["evidently"], ["scripts/agreement/time_evidently.py", *asked])
    return {"seconds": spent + own["seconds"]}


def _timed(tool: str, pins: Sequence[str], command: Sequence[str]) -> dict[str, float]:
    """What a script in a tool's environment says it took."""
    try:
        python = environment(HOME / "environments" / tool, pins)
        quiet = {**os.environ, **QUIET, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        done = subprocess.run(
            [str(python.absolute()), *command],
            check=True,
            capture_output=True,
            text=True,
            env=quiet,
            timeout=_PATIENCE,
        )
    except (subprocess.SubprocessError, OSError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        sys.stderr.write(f"{text[-1500:]}\n")
        raise Missing(f"{tool}: {text.splitlines()[-1][:160]}") from error
    return {"seconds": float(json.loads(done.stdout.strip().splitlines()[-1])["seconds"])}
