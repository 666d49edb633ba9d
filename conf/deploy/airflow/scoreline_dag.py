"""Score one date each night, and do what each exit code asks for.

Airflow 3 with the Spark provider. The connection ``spark_default`` says where Spark is; ``SCORELINE_HOME`` is the
folder with what ``make package`` writes. Client mode: in cluster mode spark-submit ends with its own code, not
with the job's.
"""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

HOME = os.environ.get("SCORELINE_HOME", "/opt/scoreline")
CONFIG = os.environ.get("SCORELINE_CONFIG", f"{HOME}/conf/machine-failure.yaml")
RETRY_SECONDS = float(os.environ.get("SCORELINE_RETRY_SECONDS", "600"))
PUBLISHED = {0: "done", 10: "drifted"}  # exit code: the task that follows
RETRY = {66, 69, 75}  # input late, registry down, another run active


class Score(SparkSubmitOperator):
    """spark-submit, with the job's exit code as its result."""

    def execute(self, context: Any) -> int:
        """0 or 10, or an exception: one that Airflow retries, or one that it does not."""
        try:
            super().execute(context)
        except AirflowException as error:
            code = self.exit_code(str(error))
            if code in PUBLISHED:
                return code
            if code is None or code in RETRY or code >= 128:  # a kill, too, is worth another try
                raise
            raise AirflowFailException(f"the job ended with {code}: trying again would not help") from error
        return 0

    @staticmethod
    def exit_code(message: str) -> int | None:
        """The code in the hook's message; None where spark-submit itself could not be run."""
        found = re.search(r"Error code is: (-?\d+)", message)
        return int(found[1]) % 256 if found else None


@dag(
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=RETRY_SECONDS)},
)
def scoreline() -> None:
    score = Score(
        task_id="score",
        application=f"{HOME}/run_batch.py",
        py_files=f"{HOME}/scoreline.zip",
        application_args=["--config", CONFIG, "--run-date", "{{ ds }}"],
        deploy_mode="client",
        durable=False,
    )

    @task.branch
    def verdict(code: int) -> str:
        return PUBLISHED[code]

    @task
    def drifted() -> None:
        """Yours: start a training, open a ticket. ``notify:`` in the configuration can tell people, too."""
        print("published, with a drift alert")  # noqa: T201

    @task
    def done() -> None:
        print("published")  # noqa: T201

    verdict(score.output) >> [drifted(), done()]


scoreline()
