"""What has to hold before anything is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from pipelines import drift as statistics
from pipelines import expectations as suites
from pipelines import model_objects, passes, run_figures, scoring, session, storage
from pipelines.attempt import Attempt
from pipelines.config import Config
from pipelines.errors import ConfigInvalid, DataRefused, DriftBlocked, InputUnavailable, InvariantBroken
from pipelines.expectations import SuitePlan
from pipelines.passes import Measured, Pass
from pipelines.profiles import TableFacts, TableProfile
from pipelines.publish import Staging
from pipelines.records import CheckOutcome, DriftFinding, ResolvedModel
from pipelines.references import Previous
from pipelines.source import SourceTable

Suites = tuple[SuitePlan | None, SuitePlan | None]


def loadable(config: Config, model: ResolvedModel) -> None:
    """What the workers would say of the model, as far as it is known without loading it.

    Raises:
        ConfigInvalid: it has no such method, or its skops file holds types that nobody trusts.
    """
    if problem := model_objects.lacks(
        model.payload, model.flavor, model.flavor_options, config.model.predict
    ):
        raise ConfigInvalid(f"model.predict: {problem}.", hint="Name one of its methods in model.predict.")
    types = model_objects.untrusted(model.payload, model.flavor_options, config.model.trusted_types)
    if types:
        raise ConfigInvalid(
            f"model: its skops file holds types that are not trusted: {types}.",
            hint="If you know them, list them in model.trusted_types.",
        )


def import_libraries(config: Config) -> None:
    """Import Great Expectations, if a suite is configured: a matter of seconds in which others can work."""
    if config.quality.input or config.quality.output:
        suites.import_engine()


def plan_suites(config: Config, model: ResolvedModel, table: SourceTable, spark: SparkSession) -> Suites:
    """Compile the configured suites; Great Expectations is imported only if there is one."""
    outputs = scoring.output_columns(config.model.predict, model.outputs)
    after = passes.output_schema(passes.kept(config), table.schema, outputs)
    quality = config.quality
    before = (
        suites.plan_suite(suites.load_suite(quality.input, "input"), table.schema, spark)
        if quality.input
        else None
    )
    return before, (
        suites.plan_suite(suites.load_suite(quality.output, "output"), after, spark)
        if quality.output
        else None
    )


def shared(spark: SparkSession, staging: Staging) -> None:
    """Raises ConfigInvalid where Spark does not see the folder that this process has made in the sink."""
    if not session.shares_folder(spark, storage.uri(staging.folder)):
        raise ConfigInvalid(
            f"sink.path: the Spark server has no folder {str(staging.slot.root)!r}, which this machine has.",
            hint="Give a path that is mounted alike on this machine and on the server with its executors.",
        )


def accounted(table: SourceTable, measured: Measured, counts: Mapping[str, int], attempt: Attempt) -> None:
    """Every row is accounted for: read = scored + quarantined, by four independent counts.

    Raises:
        InputUnavailable: there was no row.
        InvariantBroken: the counts do not reconcile.
    """
    read, scored, quarantined = measured.read, counts["predictions"], counts["quarantine"]
    attempt.facts["rows"] = {"read": read, "scored": scored, "quarantined": quarantined}
    if read == 0 and not table.rows:
        raise InputUnavailable(
            f"source.path: {attempt.config.source.path!r} has {len(table.files)} file(s) but no rows.",
            hint="Look at the job that writes them, then run again.",
        )
    found = {"rows read": read, "rows in the workers": measured.state.rows, "files' own count": table.rows}
    wrong = {k: n for k, n in found.items() if n is not None and n != scored + quarantined}
    if wrong:
        raise InvariantBroken(
            f"rows do not add up: {scored} scored + {quarantined} quarantined = {scored + quarantined}, but "
            + ", ".join(f"{k}: {n}" for k, n in wrong.items())
            + ".",
            hint="Nothing was published. If a file's own count differs from what was read, the file is corrupt.",
        )


def quarantine(attempt: Attempt) -> None:
    """Raises DataRefused above ``quality.max_quarantined``."""
    rows, limit = attempt.facts["rows"], attempt.config.quality.max_quarantined
    share = rows["quarantined"] / rows["read"] if rows["read"] else 0.0
    attempt.facts["checks"] = {"max_quarantined": limit}
    if share > limit:
        most = sorted(attempt.facts.get("quarantined_by", {}).items(), key=lambda kv: -kv[1])[:3]
        raise DataRefused(
            f"{share:.2%} of {rows['read']} rows were quarantined, limit {limit:.2%}; "
            f"most by {', '.join(f'{rule} ({n})' for rule, n in most)}.",
            hint="Look at the quarantine, which is kept under refused/; correct the input or raise "
            "quality.max_quarantined.",
        )


def expectations(
    the_pass: Pass,
    measured: Measured,
    table: SourceTable,
    staging: Staging,
    attempt: Attempt,
) -> None:
    """Judge both suites on what was measured.

    Raises:
        DataRefused: a critical expectation on the table as a whole failed.
    """
    outcomes: list[CheckOutcome] = []
    parts = (
        ("input", the_pass.input_plan, measured.readable, measured.input_counts, measured.input_aggregates),
        (
            "output",
            the_pass.output_plan,
            measured.state.predicted,
            measured.output_counts,
            measured.output_aggregates,
        ),
    )
    for kind, plan, rows, by_rule, aggregates in parts:
        if plan is None:
            continue
        frame = (
            partial(passes.readable, table)
            if kind == "input"
            else partial(_predictions, the_pass, staging, table.frame.sparkSession)
        )
        counts = passes.condition_counts(plan, by_rule)
        verdict = suites.judge(plan, rows, counts, aggregates, frame)
        outcomes += map(attempt.masking.check, verdict.outcomes)
        attempt.facts["checks"][kind] = _summary(plan, verdict)
    attempt.detail["checks"] = tuple(outcomes)
    # a critical rule on rows has sent them to quarantine, unless only GX's own pass could judge it
    refused = [
        o
        for o in outcomes
        if o.severity == "critical" and not o.success and (o.unexpected_count is None or o.extra_pass)
    ]
    if refused:
        raise DataRefused(
            "critical expectations failed: "
            + "; ".join(f"{o.suite} {o.rule} (observed {o.exception or o.observed_value})" for o in refused)
            + ".",
            hint="Look at the input; change the suite if the expectation is wrong.",
        )


def _predictions(the_pass: Pass, staging: Staging, spark: SparkSession) -> DataFrame:
    """The staged predictions, for expectations that the pass could not measure; declared, nothing is read."""
    schema = the_pass.schema
    return spark.read.schema(schema).parquet(storage.uri(staging.table("predictions")))


def _summary(plan: SuitePlan, verdict: Any) -> dict[str, Any]:
    return {
        "suite": plan.name,
        "success": verdict.success,
        "evaluated": len(verdict.outcomes),
        "failed": [o.rule for o in verdict.outcomes if not o.success],
        "extra_passes": len(verdict.extra_passes),
        "extra": list(verdict.extra_passes),
    }


def facts(attempt: Attempt, table: SourceTable, current: TableProfile | None) -> None:
    """Note in the profile what later runs will want to know of the table as a whole."""
    if current is not None:
        rows, types = attempt.facts["rows"], {f.name: f.dataType.simpleString() for f in table.schema.fields}
        by_rule = attempt.facts["quarantined_by"]
        current.facts = TableFacts(rows["read"], rows["quarantined"], types, by_rule)


def drift(
    attempt: Attempt,
    against: TableProfile | None,
    earlier: Previous | None,
    current: TableProfile | None,
) -> Sequence[DriftFinding]:
    """Compare with the reference and with the previous run; the summary goes into the record.

    Only the reference that is configured decides on ``status``; the other one's verdict is ``previous``.
    """
    config = attempt.config.drift
    limits = statistics.Thresholds(
        dataset_share=config.dataset_share, **config.thresholds.model_dump(exclude_none=True)
    )
    found: dict[str, Any] = {"status": "none", "columns": [], "reference": config.baseline}
    decisive: Sequence[DriftFinding] = ()
    consecutive: Sequence[DriftFinding] = ()
    if against and current:
        of_previous = config.baseline == "previous"
        decisive = statistics.compare(against, current, limits, "CONSECUTIVE" if of_previous else "BASELINE")
        judged = sum(f.verdict != "insufficient_data" for f in decisive[1:] if f.slice_key is None)
        found |= _verdict(decisive) | {"judged": judged, "distances": run_figures.distances(decisive)}
    if earlier and current:
        found["previous"] = {"run_date": earlier[0].isoformat()}
        if config.baseline != "previous":
            consecutive = statistics.compare(earlier[1], current, limits, "CONSECUTIVE")
            found["previous"] |= _verdict(consecutive)
    attempt.facts["drift"] = found
    attempt.detail["findings"] = (*decisive, *consecutive)
    return attempt.detail["findings"]


def _verdict(findings: Sequence[DriftFinding]) -> dict[str, Any]:
    """Of one comparison: the table's verdict, what decided where it was no column, and the drifted columns."""
    table, *columns = (f for f in findings if f.slice_key is None)
    decided = {} if table.statistic == "drifted_share" else {"decided_by": table.statistic}
    return {
        "status": table.verdict,
        "columns": [f.column_name for f in columns if f.verdict == "drift"],
        **decided,
    }


def blocked(attempt: Attempt) -> None:
    """Raises DriftBlocked where the table drifted and ``drift.on_drift`` is ``block``."""
    found = attempt.facts["drift"]
    if found["status"] == "drift" and attempt.config.drift.on_drift == "block":
        raise DriftBlocked(
            _drifted(found),
            hint="Look at the report; if the change is right, train again or set drift.on_drift: alert.",
        )


def _drifted(found: Mapping[str, Any]) -> str:
    by = {"volume_ratio": "the number of rows", "quarantined": "the share of quarantined rows"}
    where = [by[found["decided_by"]]] if "decided_by" in found else []
    columns = found["columns"]
    where += [f"{len(columns)} column(s): {', '.join(columns[:10])}"] if columns else []
    return f"drift in {' and in '.join(where)}."
