"""The order of the stages, and nothing else: the way the data goes, from the configuration to the report."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import SparkSession

from pipelines import (
    archives,
    binding,
    engines,
    exports,
    failures,
    footprint,
    gates,
    incremental,
    input_files,
    outcome,
    publish,
    references,
    registry,
    scoring,
    session,
    source,
    storage,
)
from pipelines.attempt import Attempt
from pipelines.config import Config
from pipelines.errors import (
    ConfigInvalid,
    DataRefused,
    DriftBlocked,
    InvariantBroken,
    ModelFailed,
    ScorelineError,
    Stopped,
)
from pipelines.passes import Pass
from pipelines.profiles import TableProfile
from pipelines.records import InputFile, ResolvedModel, RunRecord
from pipelines.starting import Starting

log = logging.getLogger("scoreline")


def now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


def run_batch(
    config: Config,
    spark: SparkSession | None = None,
    *,
    force: bool = False,
    dry_run: bool = False,
    clock: Callable[[], datetime] = now,
    launch: float | None = None,
) -> RunRecord:
    """Score one logical date.

    Args:
        config: from :func:`pipelines.load_config`.
        spark: the session to use, which is left running; by default the active one, else a new local one.
        force: publish a superseding run where the date is already published.
        dry_run: resolve, plan and check everything; write nothing.
        clock: gives the time for the record; nothing published depends on it.
        launch: seconds that the process took to get here, for the record.

    Returns:
        The run record, with the same content as the JSON line of the command.

    Raises:
        ScorelineError: with ``exit_code`` and, as ``record``, the record of the failed run.
    """
    attempt = Attempt(config, clock, launch=launch)
    place = publish.slot(config.sink.path, config.name, config.run_date.isoformat())
    try:
        with failures.explained():
            run = _dry_run if dry_run else _publish_once
            return run(attempt, place, spark, force)
    except ScorelineError as error:
        error.record = outcome.failed(attempt, place, error, dry_run)
        raise
    except KeyboardInterrupt as interrupt:
        stopped = interrupt if isinstance(interrupt, Stopped) else Stopped()
        stopped.record = outcome.failed(attempt, place, stopped, dry_run)
        raise stopped from interrupt


@dataclass(frozen=True)
class _Work:
    """What is to be done."""

    files: tuple[InputFile, ...]
    model: ResolvedModel
    starting: Starting


@dataclass(frozen=True)
class _Plan:
    """A resolved and checked run: nothing has been read yet but footers and headers."""

    spark: SparkSession
    starting: Starting
    model: ResolvedModel
    table: source.SourceTable
    the_pass: Pass
    reference: TableProfile | None
    previous: references.Previous | None
    work: str  # units that another attempt at the same work has left are taken over


def _publish_once(
    attempt: Attempt, place: publish.Slot, spark: SparkSession | None, force: bool
) -> RunRecord:
    incremental_run = attempt.config.source.incremental
    spark = _reaching(attempt, spark)
    with publish.lock(place), publish.lock(place, every_date=True) if incremental_run else nullcontext():
        committed = publish.recover(place, force)
        if committed and not force:
            return outcome.already(attempt, place, committed)
        exports.begun(attempt, place)
        files = _list(attempt, place)
        if not files:
            return outcome.nothing_new(attempt, place)
        spark, work = _start(attempt, files, spark)
        told = session.described(spark, attempt.config.name, attempt.context["run_date"])
        with (
            session.settings(spark, session.RUN_SETTINGS),
            told as attempt.entering,
            archives.used(spark, attempt.config.model.archive),
        ):
            plan = _plan(attempt, place, spark, work)
            staging = publish.open_staging(place, attempt.facts["run_id"], plan.work)
            try:
                gates.shared(spark, staging)
                return _score(attempt, plan, staging, committed)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    session.stop_jobs(spark, attempt.config.name)
                refused = isinstance(error, (DataRefused, DriftBlocked))
                hopeless = refused or isinstance(error, (InvariantBroken, ModelFailed, ConfigInvalid))
                kept = publish.discard(staging, keep_quarantine=refused, keep_units=not hopeless)
                attempt.facts["paths"] = {"quarantine": str(kept)} if kept else {}
                raise


def _dry_run(attempt: Attempt, place: publish.Slot, spark: SparkSession | None, force: bool) -> RunRecord:
    spark = _reaching(attempt, spark)
    files = _list(attempt, place)
    if not files:
        return attempt.record("dry_run")
    spark, work = _start(attempt, files, spark)
    gates.loadable(attempt.config, work.model)
    told = session.described(spark, attempt.config.name, attempt.context["run_date"])
    with (
        session.settings(spark, session.RUN_SETTINGS),
        told as attempt.entering,
        archives.used(spark, attempt.config.model.archive),
    ):
        _plan(attempt, place, spark, work)
    return attempt.record("dry_run")


def _list(attempt: Attempt, place: publish.Slot) -> tuple[InputFile, ...]:
    config = attempt.config
    with attempt.stage("list"):
        registry.check_uri(config.model.uri)
        files = input_files.list_files(config.source.path)
        return _new(attempt, place, files) if config.source.incremental else files


def _new(attempt: Attempt, place: publish.Slot, files: tuple[InputFile, ...]) -> tuple[InputFile, ...]:
    new = incremental.unscored(place.root, place.date, files)
    log.info("%d of %d files are new", len(new.files), len(files))
    if new.changed:
        attempt.warn(
            f"source: {len(new.changed)} file(s) have changed since they were scored and are scored again: "
            f"{', '.join(new.changed[:3])}"
        )
    if not new.files:
        attempt.warn(f"source: nothing new, all {new.known} file(s) have been scored for earlier dates")
    return new.files


def _reaching(attempt: Attempt, spark: SparkSession | None) -> SparkSession | None:
    """The session, which must be there before the first look at a store that only Spark reaches."""
    config = attempt.config
    if not storage.is_remote(config.source.path, config.sink.path):
        return spark
    with attempt.stage("start"):
        return Starting(_app(config), spark, _environment(config, spark)).session()


def _start(
    attempt: Attempt, files: tuple[InputFile, ...], spark: SparkSession | None
) -> tuple[SparkSession, _Work]:
    """Spark starts while the registry is asked and Great Expectations is imported: each takes seconds."""
    config = attempt.config
    starting = Starting(
        _app(config),
        spark,
        _environment(config, spark),
        sum(f.size for f in files),
    )
    with attempt.stage("resolve"):
        model = registry.resolve(config.model, config.tracking)
        attempt.facts["model"] = outcome.identity(model)
        for text in model.warnings:
            attempt.warn(text)
    with attempt.stage("start"):
        starting.warm((*scoring.OWN, *scoring.libraries(model.flavor)))
        gates.import_libraries(config)
        return starting.session(), _Work(files, model, starting)


def _app(config: Config) -> str:
    return f"scoreline-{config.name}"


def _environment(config: Config, spark: SparkSession | None) -> Mapping[str, str]:
    """What a session that we start is told of the environment of its workers."""
    return archives.settings(config.model.archive) if spark is None else {}


def _plan(attempt: Attempt, place: publish.Slot, spark: SparkSession, work: _Work) -> _Plan:
    config, model = attempt.config, work.model
    with attempt.stage("read"):
        kept = (*config.source.key, *config.source.carry)
        wanted = binding.wanted_types(model.inputs, config.source.columns, config.source.types)
        table = source.read(spark, config.source, wanted, work.files)
        for text in table.warnings:
            attempt.warn(text)
        bound = binding.bind(model.inputs, table.schema, config.source.columns, kept)
        attempt.facts["inputs"] = {
            "path": config.source.path,
            "format": config.source.format,
            **table.summary,
        }
        attempt.facts["inputs"]["config_digest"] = config.digest()
        attempt.identify(_run_id(config, model, table))
    with attempt.stage("plan"):
        footprint.fits(attempt, model, spark)
        previous = references.previous(config, place.root)
        reference = references.reference(config, model, previous, attempt.warn)
        with work.starting.interpreting():
            suites = gates.plan_suites(config, model, table, spark)
        specs = references.specs(reference, previous, model, config)
        the_pass = engines.assemble(attempt, spark, model, table, bound, suites, specs)
    work_name = f"{session.code_digest()}-{references.bins_digest(specs)}"
    return _Plan(spark, work.starting, model, table, the_pass, reference, previous, work_name)


def _score(attempt: Attempt, plan: _Plan, staging: publish.Staging, base: Any) -> RunRecord:
    with attempt.stage("score"):
        the_pass = plan.the_pass
        plan.starting.warmed()
        before = session.task_seconds(plan.spark)
        the_pass.run(staging)
        measured = the_pass.measured(staging)
    with attempt.stage("audit"):
        counts = outcome.collect(attempt, the_pass, staging)
        after = session.task_seconds(plan.spark)
        attempt.task_seconds = None if before is None or after is None else after - before
        gates.accounted(plan.table, measured, counts, attempt)
    with attempt.stage("judge"):
        gates.quarantine(attempt)
        gates.expectations(the_pass, measured, plan.table, staging, attempt)
        gates.facts(attempt, plan.table, measured.state.profile)
        findings = gates.drift(attempt, plan.reference, plan.previous, measured.state.profile)
        outcome.metrics(attempt, plan.model, measured, plan.reference, findings, staging, the_pass)
        footprint.peaks(attempt, plan.spark, measured.state)
        gates.blocked(attempt)
    with attempt.stage("publish"):
        decided = outcome.decide(attempt, staging.slot, measured)
        content = {"record": decided.to_dict(), "files": incremental.listed(plan.table.files)}
        publish.promote(staging, base, content)
    return outcome.published(attempt, staging.slot, decided.exit_code)


def _run_id(config: Config, model: ResolvedModel, table: source.SourceTable) -> str:
    """Derived from configuration, model and inputs: the same work has the same name."""
    parts = (config.digest(), model.digest, model.model_id, input_files.files_digest(table.files))
    return "r" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
