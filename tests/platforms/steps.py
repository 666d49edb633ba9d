"""One driver process: it makes runs, one after the other, on whatever platform it was started on.

Usage: steps.py PLAN OUTCOMES, both JSON. ``pytest`` cannot do that in its own process, as a Python process holds either
a classic session or one of Connect.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)

import pyarrow.parquet as pq

from pipelines import run_batch
from pipelines.config import Config
from pipelines.errors import ScorelineError
from pipelines.session import is_remote, session, shares_folder

TABLES = ("predictions", "quarantine", "profile_metrics", "drift_metrics")


def files_of(root: Path) -> dict[str, str]:
    """Digests of all files below the table roots."""
    found = sorted(f for t in TABLES for f in (root / t).rglob("*") if f.is_file())
    return {str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in found}


def rows_of(root: Path) -> dict[str, str]:
    """Digests of the rows of predictions and quarantine, whatever the files in which they are."""
    found = {}
    for table in TABLES[:2]:
        rows = pq.read_table(root / table).to_pylist() if (root / table).is_dir() else []
        found[table] = hashlib.sha256("\n".join(sorted(map(repr, rows))).encode()).hexdigest()
    return found


def work_of(root: Path) -> list[str]:
    """What is left in staging."""
    return sorted(p.name for p in (root / "_work").glob("*"))


def make(step: dict[str, Any], spark: Any) -> dict[str, Any]:
    """One run, or the evaluation of one."""
    from pipelines import part_pass

    config = Config.model_validate(step["config"])
    root = Path(config.sink.path) / config.name
    normal, part_pass.PART_BYTES = part_pass.PART_BYTES, step.get("part_bytes", part_pass.PART_BYTES)
    try:
        if "labels" in step:
            from pipelines.evaluation import evaluate
            from pipelines.labelled import Request

            found = evaluate(config, Request(step["labels"]), spark)
            return {"rows": dict(found.rows), "figures": dict(found.figures), "skipped": dict(found.skipped)}
        record = run_batch(config, spark, force=step.get("force", False), dry_run=step.get("dry_run", False))
        said = {"code": record.exit_code, "record": record.to_dict()}
    except ScorelineError as error:
        record = getattr(error.record, "to_dict", dict)()
        said = {"code": error.exit_code, "record": record, "message": error.message, "hint": error.hint}
    finally:
        part_pass.PART_BYTES = normal
    return {**said, "files": files_of(root), "rows": rows_of(root), "work": work_of(root)}


def main() -> None:
    plan, outcomes = (Path(a) for a in sys.argv[1:])
    spark = session("platforms")
    settings = spark.conf.get("spark.sql.session.timeZone")
    done = {step["name"]: make(step, spark) for step in json.loads(plan.read_text())}
    from pyspark import SparkContext

    platform = {
        "remote": is_remote(spark),
        "jvm": SparkContext._gateway is not None,
        "master": spark.conf.get("spark.master", None),
        "settings_left": [settings, spark.conf.get("spark.sql.session.timeZone")],
        "shares": [shares_folder(spark, f"file://{plan.parent}{part}") for part in ("", "/nowhere")],
        "usable": [r.id for r in spark.range(3).collect()],
    }
    outcomes.write_text(json.dumps({"platform": platform, "steps": done}))
    spark.stop()


if __name__ == "__main__":
    main()
