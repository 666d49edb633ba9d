"""The figures of a run that are worth an alert or a graph, named once for every system that takes numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipelines.records import Observed

Labels = tuple[tuple[str, str], ...]
_MEBI = 1 << 20
# Named as Beam's RunInference names them, whose meaning they have.
_BEAM = {
    "num_inferences": "Rows that reached the model.",
    "failed_batches_counter": "Calls of the model that raised.",
    "load_model_latency_milli_secs": "Longest time that a worker took to load the model.",
    "model_byte_size": "Bytes of the model that each worker received.",
}
_BEAM_SPREAD = {
    "inference_request_batch_size": "Rows of one call of the model.",
    "inference_batch_latency_micro_secs": "Time of one call of the model.",
}
_SPREAD = ("min", "mean", "max")


@dataclass(frozen=True)
class Figure:
    """``values`` by labels; ``name`` has no prefix, and ends in its unit where it has one."""

    name: str
    help: str
    values: Mapping[Labels, float]


def figures(seen: Observed) -> tuple[Figure, ...]:
    """All figures that are known of a run; none is made up for what a failed one did not come to."""
    return tuple(f for f in _figures(seen) if f.values)


def _figures(seen: Observed) -> Iterator[Figure]:
    record = seen.record
    yield _one(
        "run_success", "1 for a run that ended as it should, 0 for all others.", record.exit_code in (0, 10)
    )
    yield _one("run_exit_code", "Exit code of the run.", record.exit_code)
    yield _one("run_started_timestamp_seconds", "When the run began.", _seconds(record.started_at))
    last = _seconds(seen.last_published) if seen.last_published else None
    yield _one("last_published_timestamp_seconds", "When the last run that published began.", last)
    stages = {k: v for k, v in record.seconds.items() if k != "total"}
    yield _one("run_seconds", "Time of the whole run.", record.seconds.get("total"))
    yield Figure("stage_seconds", "Time of each stage.", _by("stage", stages))
    yield _one("core_seconds", "Core seconds that the run took.", record.core_seconds)
    yield _one("rows_per_second", "Rows read per second of the whole run.", record.rows_per_second)
    peak = record.peak_worker_rss_mb
    yield _one(
        "worker_rss_bytes", "Largest memory of a Python worker.", None if peak is None else peak * _MEBI
    )
    yield Figure("rows", "Rows read, scored and quarantined.", _by("outcome", record.rows))
    yield Figure("quarantined_rows", "Rows quarantined, by rule or exception.", _by("reason", _reasons(seen)))
    yield from _of_checks(record.checks)
    yield from _of_drift(record.drift)
    yield from _of_model(record.spark)


def _reasons(seen: Observed) -> Mapping[str, int]:
    """Of what a model raised only the class: its message may name a row, and a label with a value per row is no
    label."""
    together: Counter[str] = Counter()
    for reason, rows in seen.record.quarantined_by.items():
        together[reason if reason in seen.rules else reason.partition(":")[0]] += rows
    return together


def _of_checks(checks: Mapping[str, Any]) -> Iterator[Figure]:
    suites = {name: found for name, found in checks.items() if isinstance(found, Mapping)}
    failed = {name: len(found.get("failed", ())) for name, found in suites.items()}
    evaluated = {name: found.get("evaluated", 0) for name, found in suites.items()}
    yield Figure("expectations", "Expectations evaluated.", _by("suite", evaluated))
    yield Figure("failed_expectations", "Expectations not met.", _by("suite", failed))


def _of_drift(drift: Mapping[str, Any]) -> Iterator[Figure]:
    if drift.get("status") not in (None, "none"):
        yield _one("drift", "1 where the table drifts, else 0.", drift["status"] == "drift")
        yield _one("drifted_columns", "Columns that drift.", len(drift.get("columns", ())))
    distances: dict[Labels, float] = {
        (("column", column), ("statistic", statistic)): float(value)
        for column, found in drift.get("distances", {}).items()
        for statistic, value in found.items()
        if statistic not in ("verdict", "statistic", "limit") and _is_number(value)
    }
    yield Figure("drift_distance", "Distance of a column from its reference.", distances)


def _of_model(spark: Mapping[str, Any]) -> Iterator[Figure]:
    for name, text in _BEAM.items():
        yield _one(name, text, spark.get(name))
    for name, text in _BEAM_SPREAD.items():
        spread = {k: v for k, v in spark.get(name, {}).items() if k in _SPREAD}
        yield Figure(name, text, _by("statistic", spread))


def _one(name: str, text: str, value: float | None) -> Figure:
    return Figure(name, text, {} if value is None else {(): float(value)})


def _by(label: str, values: Mapping[str, Any]) -> dict[Labels, float]:
    return {((label, key),): float(value) for key, value in values.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
