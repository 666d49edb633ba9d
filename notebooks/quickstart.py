# Databricks notebook source
# MAGIC %md
# MAGIC # Scoreline in one notebook
# MAGIC
# MAGIC From a registered model to published predictions and a drift page, on the session that is already running.
# MAGIC Import the repository as a Git folder and run this notebook as it is; it brings its own demo model and data.

# COMMAND ----------

# MAGIC %md
# MAGIC On a fresh cluster, install the dependencies first: `%pip install -r requirements.txt`

# COMMAND ----------

import os
import sys
import tempfile
from pathlib import Path

try:  # a Git folder puts the notebook's own folder first; the packages are one level up
    here = Path(__file__).resolve().parent
except NameError:
    here = Path.cwd()
root = here.parent if here.name == "notebooks" else here
if str(root) not in sys.path:
    sys.path.insert(0, str(root))

workspace = Path(os.environ.get("SCORELINE_WORKSPACE") or tempfile.mkdtemp(prefix="scoreline-quickstart-"))
tracking_uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{workspace}/mlflow.db")

# COMMAND ----------

# MAGIC %md
# MAGIC ## A registered model
# MAGIC
# MAGIC Trained on real data, logged with a signature and with the profile of its training data, registered under
# MAGIC the alias `champion`. With a model of your own, the two calls to remember are
# MAGIC `log_baseline(info, baseline_from_pandas(X, predictions))` and `set_registered_model_alias`.

# COMMAND ----------

from scripts.demo_data import DAYS, MODEL, lay_out, register_model

register_model(tracking_uri, workspace / "artifacts")
lay_out(workspace / "data")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Configuration and run
# MAGIC
# MAGIC `run_batch` takes the active session, leaves it as it found it, and returns the run record. What fails
# MAGIC raises an exception that carries `exit_code`, `hint` and `record`.

# COMMAND ----------

from pyspark.sql import SparkSession

from pipelines import load_config, run_batch

spark = SparkSession.getActiveSession()
overrides = [
    f"source.path={workspace}/data/parquet/{{run_date}}",
    "source.format=parquet",
    "source.types={}",
    f"sink.path={workspace}/out",
    f"tracking_uri={tracking_uri}",
    f"quality.input={root}/conf/expectations/breast-cancer.input.json",
    f"quality.output={root}/conf/expectations/breast-cancer.output.json",
]
records = {}
for day in DAYS:
    config = load_config(root / "conf/breast-cancer.yaml", run_date=day, overrides=overrides)
    records[day] = run_batch(config, spark=spark)
    print(day, records[day].status, dict(records[day].rows), records[day].drift["status"])

# COMMAND ----------

# MAGIC %md
# MAGIC ## Published predictions
# MAGIC
# MAGIC Plain Parquet, one run per date, read with no options.

# COMMAND ----------

spark = SparkSession.getActiveSession()
predictions = spark.read.parquet(str(workspace / "out" / MODEL / "predictions"))
predictions.groupBy("run_date", "prediction").count().orderBy("run_date", "prediction").show()

quarantine = spark.read.parquet(str(workspace / "out" / MODEL / "quarantine"))
quarantine.select("sample_id", "stage", "reasons").show(truncate=False)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The page
# MAGIC
# MAGIC The last day is really shifted: the page names the columns.

# COMMAND ----------

page = Path(records[DAYS[-1]].paths["report"]).read_text("utf-8")
if "displayHTML" in globals():
    displayHTML(page)  # noqa: F821 - Databricks gives it to notebooks
else:
    print(records[DAYS[-1]].paths["report"])
