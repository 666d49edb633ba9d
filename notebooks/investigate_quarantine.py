# Databricks notebook source
# MAGIC %md
# MAGIC # Why were these rows refused?
# MAGIC
# MAGIC Reads the quarantine of one date, published or refused, and says which rules were broken, in which files, and by
# MAGIC which values. Without a configuration, the notebook scores a day of its own demo and looks at that.
# MAGIC
# MAGIC | parameter | meaning |
# MAGIC |---|---|
# MAGIC | `config` | path of the configuration; empty: the demo |
# MAGIC | `run_date` | the logical date, YYYY-MM-DD |
# MAGIC | `overrides` | one `key.path=value` a line, as the run had them |

# COMMAND ----------

# MAGIC %pip install --quiet -r requirements.txt

# COMMAND ----------

# MAGIC %restart_python

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

DEFAULTS = {"config": "", "run_date": "", "overrides": ""}
parameters = dict(DEFAULTS)
if "dbutils" in globals():  # widgets, which a job's parameters fill
    for name, default in DEFAULTS.items():
        dbutils.widgets.text(name, default)  # noqa: F821 - Databricks gives it to notebooks
        parameters[name] = dbutils.widgets.get(name).strip()  # noqa: F821
parameters

# COMMAND ----------

from pyspark.sql import SparkSession

from pipelines import load_config, run_batch

spark = SparkSession.getActiveSession()
path, run_date = parameters["config"], parameters["run_date"]
overrides = [line.strip() for line in parameters["overrides"].splitlines() if line.strip()]
if not path:
    from scripts.demo_data import DAYS, prepared

    workspace = Path(os.environ.get("SCORELINE_WORKSPACE") or tempfile.mkdtemp(prefix="scoreline-quarantine-"))
    tracking_uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{workspace}/mlflow.db")
    path, run_date = root / "conf/breast-cancer.yaml", run_date or DAYS[1]
    overrides = [*prepared(root, workspace, tracking_uri), *overrides]
    run_batch(load_config(path, run_date=run_date, overrides=overrides), spark=spark)
config = load_config(path, run_date=run_date, overrides=overrides)
home = Path(config.sink.path) / config.name

# COMMAND ----------

# MAGIC %md
# MAGIC ## Where the rows are
# MAGIC
# MAGIC A published run has its quarantine beside its predictions. A run that was refused has published nothing; what it
# MAGIC would have quarantined is kept below `refused/`.

# COMMAND ----------

spark = SparkSession.getActiveSession()
places = [home / table / f"run_date={run_date}" for table in ("quarantine", "refused")]
found = [place for place in places if place.is_dir()]
if not found:
    raise FileNotFoundError(
        f"there is no quarantine of {config.name} for {run_date} below {home}: the run has quarantined nothing, "
        "or it has not come so far. Its record is below runs/, its page below reports/."
    )
quarantine = spark.read.option("recursiveFileLookup", "true").parquet(*(str(place) for place in found))
print(f"{quarantine.count()} rows in", *found)

# COMMAND ----------

# MAGIC %md
# MAGIC ## By rule, and by file
# MAGIC
# MAGIC A row can break several rules, so that the counts by rule may add up to more than there are rows.

# COMMAND ----------

from pyspark.sql import functions as F

reasons = quarantine.select("stage", "source_file", F.explode("reasons").alias("reason"))
by_reason = reasons.groupBy("stage", "reason").count().orderBy(F.desc("count"), "reason")
by_reason.show(50, truncate=False)
by_file = quarantine.groupBy("source_file").count().orderBy(F.desc("count"), "source_file")
by_file.show(20, truncate=False)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The values at fault
# MAGIC
# MAGIC A rule names its column in parentheses. For each such column: what the refused rows hold there.

# COMMAND ----------

import re

named = {row.reason: re.search(r"\((.+)\)$", row.reason) for row in by_reason.collect()}
columns = {reason: match[1] for reason, match in named.items() if match and match[1] in quarantine.columns}
values_at_fault = {}
for reason, column in columns.items():
    rows = quarantine.where(F.array_contains("reasons", reason))
    value = F.col(f"`{column}`")
    values_at_fault[reason] = rows.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_if(value.isNull()).alias("missing"),
        F.min(value).alias("least"),
        F.max(value).alias("greatest"),
    ).first()
    print(reason, values_at_fault[reason].asDict())

# COMMAND ----------

# MAGIC %md
# MAGIC ## Examples, whole
# MAGIC
# MAGIC Two rows for each rule; where a record could not be parsed, it stands there as it was read.

# COMMAND ----------

for row in by_reason.limit(10).collect():
    print(row.reason)
    quarantine.where(F.array_contains("reasons", row.reason)).limit(2).show(truncate=40, vertical=True)

# COMMAND ----------

# MAGIC %md
# MAGIC ## And then
# MAGIC
# MAGIC * The source is wrong: have it corrected, and publish the date again with `force`.
# MAGIC * The rule is wrong: change the suite in `quality.input`; a severity of `warning` counts rows and keeps them.
# MAGIC * The rows are what they are: `quality.max_quarantined` says how many a run may have.

# COMMAND ----------

worst = by_reason.first()
values = {"quarantined": quarantine.count(), "reason": worst.reason if worst else ""}
if "dbutils" in globals():
    for name, value in values.items():
        dbutils.jobs.taskValues.set(key=name, value=value)  # noqa: F821
values
