"""``make run-batch``: the whole product on real data, from training to the page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipelines.java import driver_options, find_java

HOME = Path("demo")
TRACKING = f"sqlite:///{HOME}/mlflow.db"
CONFIG = "conf/breast-cancer.yaml"


def main() -> int:
    """Set up what is missing, run each day through spark-submit, print what came out."""
    from scripts.demo_data import DAYS, lay_out, register_model

    HOME.mkdir(exist_ok=True)
    if not (HOME / "ready").exists():
        _say("training the model and registering it as breast-cancer@champion")
        register_model(TRACKING, HOME / "artifacts")
        _say("laying out three days of input as CSV and Parquet below demo/data")
        lay_out(HOME / "data")
        (HOME / "ready").touch()
    records = []
    for day in DAYS:
        _say(f"spark-submit jobs/run_batch.py --config {CONFIG} --run-date {day}")
        records.append(_submit("--run-date", day))
    _say(f"the same days as Parquet, in one backfill: --from {DAYS[0]} --to {DAYS[-1]}")
    path = "source.path=demo/data/parquet/{run_date}"
    parquet = ("--set", "source.format=parquet", "--set", path, "--set", "source.types={}")
    name = ("--set", "name=breast-cancer-parquet", "--keep-going", "--from", DAYS[0], "--to", DAYS[-1])
    records += _submit(*parquet, *name)["runs"]
    _table(records)
    return 0 if all(r["exit_code"] in (0, 10) for r in records) else 1


def _submit(*arguments: str) -> dict[str, Any]:
    """One spark-submit; its standard output is the record, its log goes to a file."""
    options = f"{driver_options()} {os.environ.get('SPARK_SUBMIT_OPTS', '')}".strip()
    environ = {
        **os.environ,
        "JAVA_HOME": str(find_java()),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_SUBMIT_OPTS": options,
    }
    submit = Path(sys.executable).with_name("spark-submit")
    command = [str(submit), "--master", "local[*]", "jobs/run_batch.py", "--config", CONFIG, *arguments]
    with (HOME / "log.txt").open("a", encoding="utf-8") as log:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environ, check=False
        )
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        tail = "\n".join((HOME / "log.txt").read_text("utf-8").splitlines()[-20:])
        sys.exit(f"{tail}\nspark-submit ended with {done.returncode} and no record; see {HOME / 'log.txt'}.")


def _table(records: list[dict[str, Any]]) -> None:
    print(f"\n{'pipeline':22} {'date':11} {'exit':>4} {'read':>6} {'scored':>6} {'quarantined':>11}  drift")
    for r in records:
        rows, drift = r.get("rows", {}), r.get("drift", {})
        columns = drift.get("columns", [])
        verdict = f"{drift.get('status', r['status'])}{': ' + ', '.join(columns[:3]) if columns else ''}"
        verdict += f" and {len(columns) - 3} more" if len(columns) > 3 else ""
        read, scored, quarantined = (rows.get(k, "") for k in ("read", "scored", "quarantined"))
        head = f"{r['name']:22} {r['run_date']:11} {r['exit_code']:>4}"
        print(f"{head} {read:>6} {scored:>6} {quarantined:>11}  {verdict}")
    for name in dict.fromkeys(r["name"] for r in records):
        print(f"\npredictions  demo/out/{name}/predictions\nquarantine   demo/out/{name}/quarantine")
        print(f"page         demo/out/{name}/reports/index.html")


def _say(text: str) -> None:
    print(f"• {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
