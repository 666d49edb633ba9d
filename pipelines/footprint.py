"""Memory in the record of a run: what it is expected to need, before it begins, and what it took."""

from __future__ import annotations

from pyspark.sql import SparkSession

from pipelines import memory, scoring, session
from pipelines.attempt import Attempt
from pipelines.records import ResolvedModel


def fits(attempt: Attempt, model: ResolvedModel, spark: SparkSession) -> None:
    """Note what the run is expected to need, and what there is.

    Raises:
        ConfigInvalid: it clearly needs more, unless ``scoring.check_memory`` is off.
    """
    place = session.place(spark)
    if place is None:
        return
    shared = scoring.shares(model.flavor, model.flavor_options, model.payload)
    wanted = memory.need(len(model.payload), shared)
    attempt.facts["memory"] = memory.budget(place, wanted)
    if attempt.config.scoring.check_memory and (warning := memory.check(place, wanted)):
        attempt.warn(warning)


def peaks(attempt: Attempt, spark: SparkSession, state: scoring.WorkerState) -> None:
    """Note what was taken, in MB: by the largest worker, the driver's Python and its JVM."""
    attempt.facts["memory"] = {
        **attempt.facts.get("memory", {}),
        "peak_worker_mb": round(state.peak_rss_mb, 1),
        "shared_model_mb": round(state.shared_mb, 1),
        "peak_driver_mb": memory.peak(),
        "peak_jvm_mb": session.jvm_peak(spark),
    }
