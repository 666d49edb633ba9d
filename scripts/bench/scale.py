"""Ten times the rows: how much longer, and how much memory. Each run is a fresh process, as peaks are for life."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

from scripts.bench.cases import Case
from scripts.bench.measure import Contender

_LIMIT = 3600  # seconds


def sizes(case: Case) -> tuple[Case, Case]:
    """A tenth of the rows, and all of them."""
    return replace(case, rows=case.rows // 10), case


def contenders(case: Case) -> dict[str, Contender]:
    """The audited run over both sizes, each in a process of its own whose first run, over few rows, warms it up."""
    return {f"scoreline, audited, {c.rows:,} rows": _process(c) for c in sizes(case)}


def _process(case: Case) -> Contender:
    def run() -> dict[str, float]:
        asked = [sys.executable, "-m", "scripts.bench.scale", json.dumps(asdict(case))]
        done = subprocess.run(asked, stdout=subprocess.PIPE, text=True, timeout=_LIMIT, check=True)
        found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
        return found

    return run


def main(case: Case) -> None:
    """The process: print seconds and peaks as JSON."""
    import time

    from pipelines.session import session
    from scripts.bench import inputs
    from scripts.bench.contenders import scoreline

    small = replace(case, rows=10_000)
    inputs.prepare(small)
    spark = session("scoreline-scale", {"spark.master": f"local[{case.cores}]", "spark.driver.memory": "2g"})
    scoreline(small, spark)
    start = time.perf_counter()
    figures = scoreline(case, spark)
    seconds = time.perf_counter() - start
    java = spark.sparkContext._gateway.proc.pid  # type: ignore[union-attr]  # the JVM we started
    peaks = {"driver_peak_mb": peak_mb("self"), "jvm_peak_mb": peak_mb(java)}
    spark.stop()
    sys.stdout.write("\n" + json.dumps(figures | peaks | {"seconds": seconds}) + "\n")


def peak_mb(pid: int | str) -> float:
    """The largest resident memory a process has had, in MB; NaN where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return float("nan")
    return int(text.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main(Case(**json.loads(sys.argv[1])))
