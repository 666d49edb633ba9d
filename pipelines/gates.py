"""What has to hold before anything is published, and what is compared with what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from pipelines import drift as statistics
from pipelines import expectations as suites
from pipelines import ledger, metric_tables, passes, profiles, run_figures, scoring
from pipelines.attempt import Attempt
from pipelines.config import Config
from pipelines.errors import ConfigInvalid, DataRefused, DriftBlocked, InputUnavailable, InvariantBroken
from pipelines.expectations import SuitePlan
from pipelines.passes import Measured, Pass
from pipelines.profiles import ColumnSpec, TableProfile
from pipelines.publish import Staging
from pipelines.records import CheckOutcome, DriftFinding, ResolvedModel
from pipelines.source import SourceTable

Suites = tuple[SuitePlan | None, SuitePlan | None]


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


def reference(
    config: Config, model: ResolvedModel, root: Path, warn: Callable[[str], None]
) -> TableProfile | None:
    """The profile to compare with, or None where there is none yet (with a warning).

    Raises:
        ConfigInvalid: a path that cannot be read, or a profile of another format.
    """
    wanted = config.drift.baseline
    if wanted == "none":
        return None
    if wanted == "model":
        if model.baseline is None:
            warn(
                "drift: the model version carries no baseline profile; log one with pipelines.registry.log_baseline"
            )
        return profiles.load_baseline(model.baseline) if model.baseline else None
    if wanted == "previous":
        last = ledger.last_published(root, config.run_date.isoformat())
        path = ledger.profile_path(root, last.run_date, last.run_id) if last else None
        if path is None or not path.is_file():
            warn("drift: no earlier published run to compare with yet")
            return None
        return profiles.freeze(TableProfile.from_bytes(path.read_bytes()))
    return _of_data(wanted, model, config)


def _of_data(path: str, model: ResolvedModel, config: Config) -> TableProfile:
    """The profile of reference data on disk: the model's input columns, under the model's names."""
    import pandas as pd
    import pyarrow.dataset as ds

    try:
        form = "csv" if path.endswith((".csv", ".csv.gz")) else "parquet"
        data = ds.dataset(path, format=form)
        wanted = {c.name: config.source.columns.get(c.name, c.name) for c in model.inputs}
        known = {name: source for name, source in wanted.items() if source in data.schema.names}
        read = data.to_table(columns=sorted(set(known.values()))).to_pandas()
        frame = pd.DataFrame({name: read[source] for name, source in known.items()})
    except (OSError, ValueError) as error:
        raise ConfigInvalid(
            f"drift.baseline: cannot read reference data at {path!r} ({error}).",
            hint="Give model, previous, none, or the path of Parquet or CSV data.",
        ) from error
    return profiles.load_baseline(profiles.baseline_from_pandas(frame, source=path))


def specs(against: TableProfile | None, model: ResolvedModel, config: Config) -> tuple[ColumnSpec, ...]:
    """What to profile: on the reference's frozen bins where it knows a column, freely elsewhere."""
    outputs = scoring.output_columns(config.model.predict, model.outputs)
    frozen = {s.name: s for s in profiles.specs_from(against)} if against else {}
    names = {c.name: c.type for c in (*model.inputs, *outputs)}
    found = [frozen.get(n) or profiles.free_spec(n, kind) for n, kind in names.items()]
    expanded = [s for n, s in frozen.items() if n.startswith("probability_") and "probability" in names]
    return tuple(s for s in (*found, *expanded) if s is not None)


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
            passes.readable(table)
            if kind == "input"
            else _predictions(the_pass, staging, table.frame.sparkSession)
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
    return spark.read.schema(schema).parquet(f"file://{staging.table('predictions')}")


def _summary(plan: SuitePlan, verdict: Any) -> dict[str, Any]:
    return {
        "suite": plan.name,
        "success": verdict.success,
        "evaluated": len(verdict.outcomes),
        "failed": [o.rule for o in verdict.outcomes if not o.success],
        "extra_passes": len(verdict.extra_passes),
        "extra": list(verdict.extra_passes),
    }


def drift(
    attempt: Attempt, against: TableProfile | None, current: TableProfile | None
) -> Sequence[DriftFinding]:
    """Compare with the reference; the findings' summary goes into the record."""
    config = attempt.config.drift
    if against is None or current is None:
        attempt.facts["drift"] = {"status": "none", "columns": [], "reference": config.baseline}
        return ()
    limits = statistics.Thresholds(
        dataset_share=config.dataset_share, **config.thresholds.model_dump(exclude_none=True)
    )
    findings = statistics.compare(
        against, current, limits, "CONSECUTIVE" if config.baseline == "previous" else "BASELINE"
    )
    whole = [f for f in findings if f.slice_key is None]
    table = next(f for f in whole if f.column_name == metric_tables.TABLE)
    columns = [f.column_name for f in whole if f.verdict == "drift" and f is not table]
    judged = sum(f.verdict != "insufficient_data" for f in whole if f is not table)
    attempt.facts["drift"] = {
        "status": table.verdict,
        "columns": columns,
        "judged": judged,
        "reference": config.baseline,
        "distances": run_figures.distances(findings),
    }
    attempt.detail["findings"] = findings
    return findings


def blocked(attempt: Attempt) -> None:
    """Raises DriftBlocked where the table drifted and ``drift.on_drift`` is ``block``."""
    found = attempt.facts["drift"]
    if found["status"] == "drift" and attempt.config.drift.on_drift == "block":
        raise DriftBlocked(
            f"drift in {len(found['columns'])} column(s): {', '.join(found['columns'][:10])}.",
            hint="Look at the report; if the change is right, train again or set drift.on_drift: alert.",
        )
