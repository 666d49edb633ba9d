"""A run as a text file for node_exporter's textfile collector: a batch job has no port that could be scraped."""

from __future__ import annotations

from typing import Any

from pipelines.observability.figures import figures
from pipelines.records import Observed

PREFIX = "scoreline_"


def registry(seen: Observed) -> Any:
    """A ``prometheus_client.CollectorRegistry`` with the run's figures, each with the label ``pipeline``.

    ``scoreline_run_info`` is 1 and says in its labels which run the figures are of.
    """
    from prometheus_client import CollectorRegistry, Gauge

    found, record = CollectorRegistry(), seen.record
    for figure in figures(seen):
        names = [name for name, _ in next(iter(figure.values))]
        gauge = Gauge(PREFIX + figure.name, figure.help, ["pipeline", *names], registry=found)
        for labels, value in figure.values.items():
            gauge.labels(record.name, *(text for _, text in labels)).set(value)
    info = {
        "pipeline": record.name,
        "run_id": record.run_id,
        "run_date": record.run_date,
        "status": record.status,
        "model": str(record.model.get("name", "")),
        "model_version": str(record.model.get("version", "")),
    }
    gauge = Gauge(f"{PREFIX}run_info", "Which run this is.", list(info), registry=found)
    gauge.labels(**info).set(1)
    return found


def write(seen: Observed, path: str) -> None:
    """Replace the file at ``path`` at one instant.

    Raises:
        OSError: its folder is missing or cannot be written.
    """
    from prometheus_client import write_to_textfile

    write_to_textfile(path.replace("{name}", seen.record.name), registry(seen))
