# Databricks notebook source
# MAGIC %md
# MAGIC # Score a date, or every date of a range
# MAGIC
# MAGIC The parameters are widgets here and job parameters in a job. Without a configuration, the notebook brings its
# MAGIC own demo: three days, the last of which drifts.
# MAGIC
# MAGIC | parameter | meaning |
# MAGIC |---|---|
# MAGIC | `config` | path of the configuration; empty: the demo |
# MAGIC | `from`, `to` | first and last logical date, YYYY-MM-DD; without `to`, one date |
# MAGIC | `overrides` | one `key.path=value` a line |
# MAGIC | `keep_going` | `true`: go on with later dates after one has failed |
# MAGIC | `force` | `true`: publish dates again that are published already |

# COMMAND ----------

# MAGIC %pip install --quiet -r requirements.txt

# COMMAND ----------

# MAGIC %restart_python

# COMMAND ----------

import os
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

try:  # a Git folder puts the notebook's own folder first; the packages are one level up
    here = Path(__file__).resolve().parent
except NameError:
    here = Path.cwd()
root = here.parent if here.name == "notebooks" else here
if str(root) not in sys.path:
    sys.path.insert(0, str(root))

DEFAULTS = {"config": "", "from": "", "to": "", "overrides": "", "keep_going": "false", "force": "false"}
parameters = dict(DEFAULTS)
if "dbutils" in globals():  # widgets, which a job's parameters fill
    for name, default in DEFAULTS.items():
        dbutils.widgets.text(name, default)  # noqa: F821 - Databricks gives it to notebooks
        parameters[name] = dbutils.widgets.get(name).strip()  # noqa: F821
parameters

# COMMAND ----------

path, first, last = parameters["config"], parameters["from"], parameters["to"] or parameters["from"]
overrides = [line.strip() for line in parameters["overrides"].splitlines() if line.strip()]
if not path:
    from scripts.demo_data import DAYS, prepared

    workspace = Path(os.environ.get("SCORELINE_WORKSPACE") or tempfile.mkdtemp(prefix="scoreline-backfill-"))
    tracking_uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{workspace}/mlflow.db")
    overrides = [*prepared(root, workspace, tracking_uri), *overrides]
    path, first, last = root / "conf/breast-cancer.yaml", first or DAYS[0], last or DAYS[-1]
if not first:
    raise ValueError("parameter from: found nothing, expected the first date to score, such as 2026-11-22")
begin, end = date.fromisoformat(first), date.fromisoformat(last)
days = [(begin + timedelta(n)).isoformat() for n in range((end - begin).days + 1)]
days

# COMMAND ----------

# MAGIC %md
# MAGIC ## The runs
# MAGIC
# MAGIC Each date is published whole or not at all. A date that is published already is not scored again, so that this
# MAGIC notebook can be run again after a failure.

# COMMAND ----------

from pyspark.sql import SparkSession

from pipelines import load_config, run_batch
from pipelines.errors import ScorelineError

spark = SparkSession.getActiveSession()
records, failures = {}, {}
for day in days:
    try:
        config = load_config(path, run_date=day, overrides=overrides)
        records[day] = run_batch(config, spark=spark, force=parameters["force"] == "true")
        print(day, records[day].status, dict(records[day].rows), records[day].drift["status"])
    except ScorelineError as error:
        failures[day] = error
        print(day, "failed with", error.exit_code, error)
        if parameters["keep_going"] != "true":
            break

# COMMAND ----------

# MAGIC %md
# MAGIC ## What later tasks of the job can ask
# MAGIC
# MAGIC `{{tasks.score.values.drift}}` and its kind, in a condition task for instance.

# COMMAND ----------

values = {
    "exit_code": max([e.exit_code for e in failures.values()] + [r.exit_code for r in records.values()]),
    "drift": "drift" if any(r.drift["status"] == "drift" for r in records.values()) else "ok",
    "quarantined": sum(r.rows["quarantined"] for r in records.values()),
    "failed": ",".join(failures),
}
if "dbutils" in globals():
    for name, value in values.items():
        dbutils.jobs.taskValues.set(key=name, value=value)  # noqa: F821
values

# COMMAND ----------

# MAGIC %md
# MAGIC ## The exit contract
# MAGIC
# MAGIC A failed date fails the task, with the exception of the first that failed: its `exit_code` says what kind of
# MAGIC failure it is, its `hint` what to do next.

# COMMAND ----------

if failures:
    raise next(iter(failures.values()))
