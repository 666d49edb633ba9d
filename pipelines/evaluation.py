"""How good the published predictions of a date were, once labels have come: the order of that.

Read the published predictions and the deliveries -> the newest label of each key -> join -> count -> write
``quality_metrics``, the run's page, the index and the MLflow run. Done again with more labels, it replaces these.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from pipelines import (
    failures,
    labels,
    ledger,
    publish,
    quality_counts,
    quality_metrics,
    report,
    session,
    storage,
    tracking,
)
from pipelines.attempt import Attempt
from pipelines.batch import now
from pipelines.config import Config
from pipelines.errors import ConfigInvalid, InputUnavailable
from pipelines.labelled import Joined, Request, join
from pipelines.records import InputFile, RunRecord, plain
from pipelines.redaction import mask
from pipelines.storage import AnyPath

log = logging.getLogger("scoreline")
TABLE = "quality_metrics"


@dataclass(frozen=True)
class Evaluation:
    """What was found: the JSON line of the command.

    ``rows``: predictions, and of them labelled and unlabelled. ``labels``: every delivered row by what became of it;
    ``conflicting`` counts keys whose newest delivery contradicts itself. ``figures`` are those of the whole table.
    """

    name: str
    run_id: str
    run_date: str
    model_id: str
    problem_type: str
    rows: Mapping[str, int]
    labels: Mapping[str, int]
    conflicting: int
    figures: Mapping[str, float]
    slices: int
    skipped: Mapping[str, str]
    paths: Mapping[str, str]
    seconds: Mapping[str, float]
    warnings: tuple[str, ...] = ()
    status: str = field(default="evaluated")
    exit_code: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        found: dict[str, Any] = plain(asdict(self))
        return found


def evaluate(
    config: Config,
    request: Request,
    spark: SparkSession | None = None,
    *,
    clock: Callable[[], datetime] = now,
) -> Evaluation:
    """Compare the published predictions of ``config.run_date`` with their labels.

    Raises:
        ScorelineError: nothing is published or labelled (66), keys repeat (65), columns are missing (78), ...
    """
    attempt = Attempt(config, clock)
    place = publish.slot(config.sink.path, config.name, config.run_date.isoformat())
    if not config.source.key:
        raise ConfigInvalid(
            "source.key: found none, expected the columns by which labels are joined.",
            hint="Name them, and publish the date again with --force.",
        )
    with failures.explained():
        files = labels.list_deliveries(request.path)
        if not place.root.is_dir():
            raise _not_published(place)
        with publish.lock(place):
            committed = publish.recover(place)
            if committed is None:
                raise _not_published(place)
            own = session.session(f"scoreline-{config.name}") if spark is None else spark
            told = session.described(own, config.name, attempt.context["run_date"])
            with session.settings(own, session.RUN_SETTINGS), told as attempt.entering:
                try:
                    return _evaluate(attempt, place, own, committed, request, files)
                except KeyboardInterrupt:
                    session.stop_jobs(own, config.name)
                    raise


def _not_published(place: publish.Slot) -> InputUnavailable:
    return InputUnavailable(
        f"predictions: nothing is published for {place.date} below {place.root}.",
        hint="Score the date first; labels are compared with what was published.",
    )


def _evaluate(
    attempt: Attempt,
    place: publish.Slot,
    spark: SparkSession,
    committed: Mapping[str, Any],
    request: Request,
    files: Sequence[InputFile],
) -> Evaluation:
    of_run = RunRecord.from_dict(committed["record"])
    predictions = spark.read.parquet(storage.literal(str(place.live("predictions"))))
    with attempt.stage("join"):
        usable, skipped = quality_counts.usable_slices(predictions, attempt.config.drift.slices)
        joined = join(attempt, predictions, request, files, usable)
    try:
        with attempt.stage("count"):
            counts = _counts(attempt, joined, request)
    finally:
        session.release(joined.kept)
    model_id = f"{of_run.model.get('name')}/{of_run.model.get('version')}"
    table = quality_metrics.quality_metrics(
        counts, joined.problem, run_date=attempt.config.run_date, model_id=model_id
    )
    with attempt.stage("publish"):
        staging = publish.open_staging(place, of_run.run_id)
        publish.write_table(staging, TABLE, table)
        live = publish.replace_table(staging, TABLE)
    rows = _told(attempt, table)
    figures = quality_metrics.headline_figures(rows[0])
    quality = {
        "problem_type": joined.problem,
        "evaluated_at": attempt.started_at,
        "rows": joined.rows,
        "labels": joined.labels,
        "figures": figures,
        "skipped": skipped,
    }
    with attempt.stage("report"):
        page = _tell(attempt, place, of_run, quality, rows)
    return Evaluation(
        name=attempt.config.name,
        run_id=of_run.run_id,
        run_date=place.date,
        model_id=model_id,
        problem_type=joined.problem,
        rows=joined.rows,
        labels=joined.labels,
        conflicting=joined.conflicting,
        figures=figures,
        slices=table.num_rows - 1,
        skipped=skipped,
        paths={TABLE: str(live), "report": str(page)},
        seconds=attempt.record("published").seconds,
        warnings=tuple(attempt.warnings),
    )


def _counts(attempt: Attempt, joined: Joined, request: Request) -> list[quality_metrics.Counts]:
    if joined.problem == "regression":
        return quality_counts.of_numbers(joined.frame)
    if "probability" not in joined.frame.columns:
        return quality_counts.of_classes(joined.frame, None)
    classes, why = quality_counts.classes_of(
        joined.predictions, joined.frame.select("label"), request.classes
    )
    if why:
        attempt.warn(f"quality: no figures on probabilities: {why}")
    return quality_counts.of_classes(joined.frame, classes)


def _told(attempt: Attempt, table: pa.Table) -> list[dict[str, Any]]:
    """The rows as pages show them: slices by a sensitive column are numbered instead of named."""
    rows = table.to_pylist()
    for number, row in enumerate(rows):
        if row["slice_key"] is not None and attempt.masking.mentions(row["slice_key"]):
            row["slice_value"] = f"value {number}"
    return rows


def _tell(
    attempt: Attempt,
    place: publish.Slot,
    of_run: RunRecord,
    quality: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
) -> AnyPath:
    """The ledger, the run's page, the index and MLflow; what cannot be told is a warning, as the table is there."""
    path = place.root / "reports" / f"run_date={place.date}" / f"{of_run.run_id}.html"
    records = [r for r in ledger.history(place.root) if r.status == "published" and r.run_id == of_run.run_id]
    record = replace(max(records, key=lambda r: r.started_at, default=of_run), quality=quality)
    page = ""
    try:
        if records:
            ledger.write(place.root, record)
        page = mask(report.with_quality(path.read_text("utf-8"), record, rows), attempt.config.secrets)
        storage.replace(path, page.encode())
        index = report.render_index(ledger.history(place.root)).encode()
        storage.replace(place.root / "reports" / "index.html", index)
    except Exception as error:  # the table is current: a page that fails changes no exit code
        attempt.warn(f"the page could not be updated: {type(error).__name__}: {error}")
    figures = {**quality["figures"], "labelled": float(quality["rows"]["labelled"])}
    if warning := tracking.log_quality(record, figures, page, attempt.config.tracking):
        attempt.warn(warning)
    return path
