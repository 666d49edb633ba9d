"""The pass in which workers read Parquet for themselves: nothing of the rows goes through the JVM.

The same rules, suites and accounting as :mod:`pipelines.one_pass`. Workers commit units of row groups under the
staging folder; what another attempt has committed is not scored again.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from pipelines import passes, publish, scoring, screening, session, storage
from pipelines.binding import Binding
from pipelines.config import Config
from pipelines.expectations import SuitePlan
from pipelines.failures import of_model
from pipelines.parquet_files import Footers, plain
from pipelines.passes import Measured
from pipelines.profiles import ColumnSpec
from pipelines.publish import Staging
from pipelines.records import ResolvedModel
from pipelines.rules import RowRule
from pipelines.scoring import units
from pipelines.scoring.scan import PREDICTIONS, QUARANTINE, Rules, ScanTask
from pipelines.scoring.units import Unit
from pipelines.screening import Screen
from pipelines.source import SourceTable
from pipelines.unit_watch import Watch
from pipelines.vectorized import Program, Totals, compile_aggregates, compile_columns

_AS_SPARK = {
    "boolean": {pa.bool_()}, "tinyint": {pa.int8()}, "smallint": {pa.int16()}, "int": {pa.int32()},
    "bigint": {pa.int64()}, "float": {pa.float32()}, "double": {pa.float64()}, "string": {pa.string()},
    "binary": {pa.binary()}, "date": {pa.date32()},
}  # fmt: skip
# what Arrow and Spark write as the same text
_SAME_TEXT = ("string", "boolean", "byte", "short", "integer", "long", "date")


class Unsuitable(Exception):
    """The input or a rule needs Spark to look at rows; the message says which."""


@dataclass
class ScanPass:
    """``parts`` are all units of the input; ``reused`` rows are in those that an earlier attempt has left; ``limit`` is
    the share of rows that may be refused before there is no point in going on."""

    spark: SparkSession
    screen: Screen
    input_plan: SuitePlan | None
    output_plan: SuitePlan | None
    schema: StructType
    parts: tuple[Unit, ...]
    task: ScanTask
    payload: bytes
    limit: float = 1.0
    name: str = "scan"
    reused: int = 0

    def run(self, staging: Staging) -> None:
        """The one Spark job.

        Raises:
            DataRefused: so many rows were refused that the rest cannot change the verdict.
            ModelFailed, ConfigInvalid: what a worker noted of the model.
        """
        folder = _units(staging)
        folder.mkdir(parents=True, exist_ok=True)
        for left in (units.STOP, units.FAILED):
            (folder / left).unlink(missing_ok=True)
        todo = [u for u in self.parts if not units.is_done(folder, u.id)]
        self.reused = sum(u.rows for u in self.parts) - sum(u.rows for u in todo)
        if not todo:
            return
        planned = units.tasks(todo, session.parallelism(self.spark))
        task = replace(self.task, folder=str(folder))
        scored = functools.partial(
            scoring.scan_units, task, planned, session.ship_bytes(self.spark, self.payload)
        )
        frame = self.spark.range(0, len(planned), 1, len(planned)).mapInArrow(scored, "unit string")
        with Watch(folder, self.parts, self.limit) as watch:
            frame.collect()
        if (note := folder / units.FAILED).is_file():
            raise of_model(json.loads(note.read_text()))
        if watch.hopeless:
            self._stage("quarantine", staging)
            raise watch.refusal()

    def measured(self, staging: Staging) -> Measured:
        """What all units together counted."""
        rules = (self.task.before, self.task.after)
        totals = [Totals.empty(r.aggregates) for r in rules]
        accounts = [units.account_of(_units(staging), u.id) for u in self.parts]
        after = [0] * len(self.screen.after)
        for account in accounts:
            after = [a + b for a, b in zip(after, account["after"], strict=True)]
            for total, state in zip(totals, account["totals"], strict=True):
                total.merge(state)
        state = scoring.merge_states(scoring.WorkerState.from_bytes(a["state"].encode()) for a in accounts)
        before = state.counts[0] if state.counts else [0] * len(self.screen.before)
        return Measured(
            read=state.rows,
            state=state,
            input_counts=dict(zip([r.name for r in self.screen.before], before, strict=True)),
            output_counts=dict(zip([r.name for r in self.screen.after], after, strict=True)),
            input_aggregates=_named(self.input_plan, totals[0]),
            output_aggregates=_named(self.output_plan, totals[1]),
        )

    def collect(self, staging: Staging) -> dict[str, int]:
        """Take the units' files as staged tables; rows by table, as their footers count them."""
        return {table: self._stage(table, staging) for table in ("predictions", "quarantine")}

    def _stage(self, table: str, staging: Staging) -> int:
        name, schema = {
            "predictions": (PREDICTIONS, self.task.predictions),
            "quarantine": (QUARANTINE, self.task.quarantine),
        }[table]
        files = [_units(staging) / u.id / name for u in self.parts]
        return publish.collect_table(staging, table, [f for f in files if f.is_file()], schema)


def _units(staging: Staging) -> Path:
    """Workers write there by themselves, so that it is mounted."""
    return Path(str(staging.units))


def _named(plan: SuitePlan | None, totals: Totals) -> dict[str, Any]:
    return dict(zip(plan.aggregates, totals.results(), strict=True)) if plan else {}


def assemble(
    spark: SparkSession,
    config: Config,
    model: ResolvedModel,
    table: SourceTable,
    binding: Binding,
    suites: tuple[SuitePlan | None, SuitePlan | None],
    specs: Sequence[ColumnSpec],
) -> ScanPass:
    """Declare the pass; nothing is read.

    Raises:
        Unsuitable: the input is not plain Parquet, or a rule has no form that workers can evaluate.
    """
    if session.is_remote(spark):
        raise Unsuitable("Spark Connect gives no analyzed plan")
    footers = _plain_footers(table, config)
    screen = passes.screen_of(config, model, table, binding, suites)
    kept = passes.kept(config)
    after_schema = passes.output_schema(kept, table.schema, screen.outputs)
    empty = spark.createDataFrame([], table.schema)
    before, feeds = _rules(empty, screen.before, suites[0], binding)
    after, _ = _rules(spark.createDataFrame([], after_schema), screen.after, suites[1], None)
    published = passes.prediction_schema(after_schema)
    task = ScanTask(
        task=passes.scorer(config, model, screen, specs).task(),
        before=before,
        feeds=feeds,
        slices=_slices(empty, passes.slices(config, table)),
        after=after,
        kept=kept,
        schema=to_arrow_schema(table.schema),
        predictions=to_arrow_schema(published),
        quarantine=to_arrow_schema(screening.quarantine_schema(screen)),
        model_id=model.model_id,
        timestamp=datetime(config.run_date.year, config.run_date.month, config.run_date.day, tzinfo=UTC),
        folder="",
    )
    return ScanPass(
        spark,
        screen,
        *suites,
        published,
        units.cut(footers.groups),
        task,
        model.payload,
        config.quality.max_quarantined,
    )


def _plain_footers(table: SourceTable, config: Config) -> Footers:
    """What the files' footers say, if pyarrow reads from the files what Spark reads."""
    if storage.is_remote(config.sink.path, *(f.path for f in table.files)):
        raise Unsuitable("only Spark reaches stores that are not mounted")
    if table.footers is None:
        raise Unsuitable(f"{config.source.format} is read by Spark")
    if config.source.options:
        raise Unsuitable(f"source.options ({', '.join(config.source.options)}) are Spark's")
    found = {f.name: plain(f.type) for f in table.footers.schema}
    folders = {p.partition("=")[0].casefold() for f in table.files for p in Path(f.path).parts if "=" in p}
    for field in table.schema.fields:
        kind = field.dataType.simpleString()
        if field.name.casefold() in folders:
            raise Unsuitable(f"column {field.name!r} is the name of a folder, too")
        if "__CHAR_VARCHAR_TYPE_STRING" in field.metadata:
            raise Unsuitable(f"column {field.name!r} is a char or varchar of Spark's")
        if table.footers.legacy and kind in ("date", "timestamp", "timestamp_ntz"):
            raise Unsuitable(f"column {field.name!r} counts its days by an older calendar")
        if field.name not in found:
            raise Unsuitable(f"column {field.name!r} comes from folder names")
        if not _same(kind, found[field.name]):
            raise Unsuitable(f"column {field.name!r} ({kind}) is stored as {found[field.name]}")
    return table.footers


def _same(kind: str, stored: pa.DataType) -> bool:
    if kind in ("timestamp", "timestamp_ntz"):
        utc = kind == "timestamp"
        return (
            pa.types.is_timestamp(stored) and stored.unit in ("ms", "us") and (stored.tz is not None) == utc
        )
    return stored in _AS_SPARK.get(kind, ())


def _rules(
    frame: DataFrame, rules: Sequence[RowRule], plan: SuitePlan | None, binding: Binding | None
) -> tuple[Rules, Program]:
    """Rules, and the model's inputs, as programs.

    Raises:
        Unsuitable: naming what cannot be expressed.
    """
    feeds = [make() for make in binding.columns] if binding else []
    wanted = compile_columns(frame, [*(r.predicate() for r in rules), *feeds])
    values, aggregates = compile_aggregates(frame, list(plan.aggregates.values()) if plan else [])
    if problems := (*wanted.problems, *values.problems):
        raise Unsuitable(f"a rule needs Spark: {', '.join(problems[:3])}")
    roots = wanted.program.roots
    verdicts = Program(wanted.program.steps, roots[: len(rules)])
    of_rules = Rules(
        names=tuple(r.name for r in rules),
        critical=tuple(r.critical for r in rules),
        reported=tuple(r.reported for r in rules),
        program=verdicts.pruned(),
        values=values.program,
        aggregates=tuple(a for a in aggregates if a is not None),
    )
    return of_rules, Program(wanted.program.steps, roots[len(rules) :]).pruned()


def _slices(frame: DataFrame, columns: Sequence[Column]) -> Program:
    """The slicing expressions as a program.

    Raises:
        Unsuitable: naming what cannot be expressed.
    """
    found = compile_columns(frame, columns)
    program = found.program
    kinds = [program.steps[root].type for root in program.roots]
    problems = (*found.problems, *(f"{k} as text" for k in kinds if k not in _SAME_TEXT))
    if problems:
        raise Unsuitable(f"a slice needs Spark: {', '.join(problems[:3])}")
    return program
