"""A run as OpenLineage events: START, then COMPLETE or FAIL, with what was read, what was written and how good it was.

Events are made of the client's own classes, which carry the address of the schema each part follows. Where they go
says the client's own configuration: OPENLINEAGE_URL and its like, or an ``openlineage.yml``.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pipelines.records import CheckOutcome, Observed

PRODUCER = "urn:scoreline"
_TABLES = ("predictions", "quarantine", "profile_metrics", "drift_metrics")
_QUANTILES = {"0.05": 1, "0.25": 5, "0.5": 10, "0.75": 15, "0.95": 19}  # places in the profile's levels


def send(events: Iterable[Any]) -> None:
    """Hand events to the client.

    Raises:
        Exception: whatever the client's transport raises.
    """
    from openlineage.client import OpenLineageClient

    before = set(os.environ)
    client = OpenLineageClient()
    try:
        for event in events:
            client.emit(event)
    finally:
        client.close(timeout=5)
        for name in set(os.environ) - before:  # its own notes, the key among them
            if name.startswith("OPENLINEAGE__"):
                with suppress(KeyError):  # another export, which was given up, has ended meanwhile
                    del os.environ[name]


def start(seen: Observed) -> Any:
    """The event of a run that begins: what it reads is known, nothing else."""
    from openlineage.client.event_v2 import InputDataset, RunState

    source = InputDataset(*_named(seen.source))
    return _event(seen, RunState.START, seen.record.started_at, [source], [])


def end(seen: Observed) -> Any:
    """The event of a run that has ended: COMPLETE where it published, else FAIL; an interrupted run is ABORT."""
    from openlineage.client.event_v2 import RunState

    record = seen.record
    published = record.status == "published"
    stopped = record.exit_code in (130, 143)
    state = RunState.COMPLETE if published else RunState.ABORT if stopped else RunState.FAIL
    total = timedelta(seconds=record.seconds.get("total", 0.0))
    when = (datetime.fromisoformat(record.started_at) + total).isoformat(timespec="milliseconds")
    outputs = [_output(seen, table) for table in _TABLES] if published else []
    return _event(seen, state, when, [_input(seen)], outputs)


def _named(path: str) -> tuple[str, str]:
    """Namespace and name of a data set: ``file`` and the path on this machine, else the store and the path there."""
    scheme, sign, rest = path.partition("://")
    if not sign:
        return "file", path
    store, _, name = rest.partition("/")
    return f"{'s3' if scheme in ('s3a', 's3n') else scheme}://{store}", name


def _event(seen: Observed, state: Any, when: str, inputs: list[Any], outputs: list[Any]) -> Any:
    from openlineage.client.event_v2 import Job, Run, RunEvent
    from openlineage.client.facet_v2 import documentation_job, job_type_job, set_producer

    set_producer(PRODUCER)
    record = seen.record
    namespace = os.environ.get("OPENLINEAGE_NAMESPACE", "default")
    own = uuid.uuid5(uuid.NAMESPACE_URL, f"{PRODUCER}:{seen.root}:{record.run_date}:{record.started_at}")
    facets = {
        "jobType": job_type_job.JobTypeJobFacet("BATCH", "SCORELINE", "MODEL"),
        "documentation": documentation_job.DocumentationJobFacet(
            f"Scores {seen.source} with a registered model and checks what it reads and writes."
        ),
    }
    return RunEvent(
        eventType=state,
        eventTime=when,
        run=Run(str(own), _run_facets(seen)),
        job=Job(namespace, record.name, facets),
        inputs=inputs,
        outputs=outputs,
        producer=PRODUCER,
    )


def _run_facets(seen: Observed) -> dict[str, Any]:
    from importlib.metadata import version

    from openlineage.client import facet_v2 as f

    record = seen.record
    day = datetime.combine(date.fromisoformat(record.run_date), datetime.min.time(), UTC)
    nominal = [t.isoformat().replace("+00:00", "Z") for t in (day, day + timedelta(days=1))]
    tags = {
        "run_id": record.run_id if record.run_id != "unknown" else "",
        "model": f"{record.model.get('name')}/{record.model.get('version')}" if record.model else "",
        "model_digest": record.model.get("digest"),
        **({"drift": record.drift.get("status"), "status": record.status} if record.drift else {}),
    }
    fields = [f.tags_run.TagsRunFacetFields(k, str(v), "SCORELINE") for k, v in tags.items() if v]
    facets: dict[str, Any] = {
        "nominalTime": f.nominal_time_run.NominalTimeRunFacet(*nominal),
        "processing_engine": f.processing_engine_run.ProcessingEngineRunFacet(version("pyspark"), "spark"),
        "tags": f.tags_run.TagsRunFacet(fields),
    }
    if record.error:
        said = f"{record.error['class']}: {record.error['message']} {record.error['hint']}".strip()
        facets["errorMessage"] = f.error_message_run.ErrorMessageRunFacet(said, "python")
    if tests := [_test(c) for c in seen.checks]:
        facets["test"] = f.test_run.TestRunFacet(tests)
    return facets | _parent()


def _parent() -> dict[str, Any]:
    """The task of a scheduler that this run is part of, where OPENLINEAGE_PARENT_ID (namespace/job/run) names it."""
    from openlineage.client.facet_v2 import parent_run

    parts = os.environ.get("OPENLINEAGE_PARENT_ID", "").rsplit("/", 2)
    if len(parts) < 3:
        return {}
    namespace, job, run = parts
    return {"parent": parent_run.ParentRunFacet(parent_run.Run(run), parent_run.Job(namespace, job))}


def _test(check: CheckOutcome) -> Any:
    from openlineage.client.facet_v2 import test_run

    return test_run.TestExecution(
        name=f"{check.suite}: {check.rule}",
        status="pass" if check.success else "fail",
        severity=_severity(check),
        type=check.expectation_type,
    )


def _severity(check: CheckOutcome) -> str:
    return "error" if check.severity == "critical" else "warn"


def _input(seen: Observed) -> Any:
    from openlineage.client import facet_v2 as f
    from openlineage.client.event_v2 import InputDataset

    record = seen.record
    facets: dict[str, Any] = {}
    if record.inputs:
        facets["inputStatistics"] = f.input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            record.rows.get("read"), record.inputs.get("bytes"), record.inputs.get("files")
        )
    if metrics := _column_metrics(seen):
        scored = next((r["count"] for r in seen.profile if _is_of(r, ":table")), None)
        facets["dataQualityMetrics"] = (
            f.data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet(metrics, rowCount=scored)
        )
    if asserted := [c for c in seen.checks if c.suite == "input"]:
        facets["dataQualityAssertions"] = f.data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
            [_assertion(c) for c in asserted]
        )
    return InputDataset(*_named(seen.source), facets, facets=_schema(seen.schemas.get("input")))


def _assertion(check: CheckOutcome) -> Any:
    from openlineage.client.facet_v2 import data_quality_assertions_dataset

    return data_quality_assertions_dataset.Assertion(
        check.expectation_type, check.success, check.column, severity=_severity(check), name=check.rule
    )


def _column_metrics(seen: Observed) -> dict[str, Any]:
    """Figures of the source columns that the model reads, over the rows that reached it."""
    from openlineage.client.facet_v2 import data_quality_metrics_input_dataset as quality

    found = {}
    for row in seen.profile:
        name = row["column_name"]
        if name not in seen.feeds or not _is_of(row, name):
            continue
        levels = row["quantiles"] or []
        quantiles = {q: levels[i] for q, i in _QUANTILES.items() if i < len(levels) and levels[i] is not None}
        found[seen.feeds[name]] = quality.ColumnMetrics(
            nullCount=row["num_nulls"],
            distinctCount=row["distinct_count"],
            count=row["count"],
            min=row["min"],
            max=row["max"],
            quantiles=quantiles,
        )
    return found


def _is_of(row: Mapping[str, Any], column: str) -> bool:
    return row["column_name"] == column and row["slice_key"] is None


def _output(seen: Observed, table: str) -> Any:
    from openlineage.client import facet_v2 as f
    from openlineage.client.event_v2 import OutputDataset

    rows = {"predictions": "scored", "quarantine": "quarantined"}
    size, files = seen.sizes.get(table, (None, None))
    facets: dict[str, Any] = {
        "outputStatistics": f.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            seen.record.rows.get(rows.get(table, "")), size, files
        )
    }
    about = _schema(seen.schemas.get(table))
    if table == "predictions" and about:
        about["columnLineage"] = f.column_lineage_dataset.ColumnLineageDatasetFacet(_lineage(seen))
    return OutputDataset(*_named(f"{seen.root}/{table}"), facets, facets=about)


def _lineage(seen: Observed) -> dict[str, Any]:
    """Key and carried columns come as they are from the input; what the model says comes from all that it reads."""
    from openlineage.client.facet_v2 import column_lineage_dataset as lineage

    def read(column: str, how: str) -> Any:
        return lineage.InputField(*_named(seen.source), column, [lineage.Transformation("DIRECT", how)])

    given = {name: [read(name, "IDENTITY")] for name in seen.kept}
    ours = {*given, "model_id", "timestamp"}
    said = [name for name in seen.schemas["predictions"] if name not in ours]
    inputs = [read(column, "TRANSFORMATION") for column in seen.feeds.values()]
    return {n: lineage.Fields(fields) for n, fields in {**given, **dict.fromkeys(said, inputs)}.items()}


def _schema(columns: Mapping[str, str] | None) -> dict[str, Any]:
    from openlineage.client.facet_v2 import schema_dataset

    if not columns:
        return {}
    fields = [schema_dataset.SchemaDatasetFacetFields(name, kind) for name, kind in columns.items()]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields)}
