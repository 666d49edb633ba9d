"""The pass in which workers read Parquet or CSV for themselves: nothing of the rows goes through the JVM.

The same rules, suites and accounting as :mod:`pipelines.one_pass`. Workers commit units under the staging folder; what
another attempt has committed is not scored again. Lines of CSV of which it is not certain how Spark reads them are left
over; Spark reads them in a job of its own.
"""

from __future__ import annotations

import functools
import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from pipelines import passes, publish, scan_input, scan_rest, scoring, screening, session
from pipelines.binding import Binding
from pipelines.config import Config
from pipelines.expectations import SuitePlan
from pipelines.failures import of_model
from pipelines.passes import Measured
from pipelines.profiles import ColumnSpec
from pipelines.publish import Staging
from pipelines.records import ResolvedModel
from pipelines.rules import RowRule
from pipelines.scan_input import Unsuitable
from pipelines.scoring import claims, sums, units
from pipelines.scoring.units import Unit
from pipelines.scoring.work import PREDICTIONS, QUARANTINE, Rules, ScanTask
from pipelines.screening import Screen
from pipelines.source import SourceTable
from pipelines.unit_watch import Watch
from pipelines.vectorized import Program, Totals, compile_aggregates, compile_columns

# what Arrow and Spark write as the same text
_SAME_TEXT = ("string", "boolean", "byte", "short", "integer", "long", "date")


@dataclass
class ScanPass:
    """``parts`` are all units of the input; ``reused`` rows are in those that an earlier attempt has left; ``limit`` is
    the share of rows that may be refused before there is no point in going on. ``rest`` are units of the lines that
    Spark has read."""

    spark: SparkSession
    table: SourceTable
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
    rest: tuple[str, ...] = ()

    def run(self, staging: Staging) -> None:
        """The one Spark job, and one more if there are lines that only Spark can judge.

        Raises:
            DataRefused: so many rows were refused that the rest cannot change the verdict.
            ModelFailed, ConfigInvalid: what a worker noted of the model.
        """
        folder = _folder(staging)
        folder.mkdir(parents=True, exist_ok=True)
        units.clear(folder)
        done = {u.id for u in self.parts if units.is_done(folder, u.id)}
        self.reused = sum(units.rows_of(folder, unit).read for unit in done)
        task = replace(self.task, folder=str(folder))
        payload = session.ship_bytes(self.spark, self.payload)
        self._scan(task, [u for u in self.parts if u.id not in done], payload, staging)
        if task.text:
            rest = [u.id for u in self.parts if units.rows_of(folder, u.id).rest]
            self.rest = scan_rest.score(self.table, self.screen, task, rest, payload)
            _raise_noted(folder)

    def _scan(self, task: ScanTask, todo: Sequence[Unit], payload: Any, staging: Staging) -> None:
        if not todo:
            return
        planned = claims.shares(todo, session.parallelism(self.spark))
        scored = functools.partial(scoring.scan_units, task, payload)
        with Watch(_folder(staging), self.parts, self.limit) as watch:
            session.in_tasks(self.spark, scored, [pickle.dumps(u) for u in planned])
        _raise_noted(_folder(staging))
        if watch.hopeless:
            self._stage("quarantine", staging)
            raise watch.refusal()

    def measured(self, staging: Staging) -> Measured:
        """What all units together counted."""
        task = replace(self.task, folder=str(_folder(staging)))
        total = sums.added(task, self._accounts(task))
        state = total.state
        before = state.counts[0] if state.counts else [0] * len(self.screen.before)
        return Measured(
            read=scan_rest.lines(self.table, total) if task.text else state.rows,
            state=state,
            input_counts=dict(zip([r.name for r in self.screen.before], before, strict=True)),
            output_counts=dict(zip([r.name for r in self.screen.after], total.after, strict=True)),
            input_aggregates=_named(self.input_plan, total.totals[0]),
            output_aggregates=_named(self.output_plan, total.totals[1]),
        )

    def _accounts(self, task: ScanTask) -> Iterator[dict[str, Any]]:
        """Of each group of units; where there are several, workers add them up: the driver's part stays small."""
        groups = sums.groups(self._units)
        if len(groups) <= 1:
            return (units.account_of(Path(task.folder), unit) for group in groups for unit in group)
        added = functools.partial(scoring.add_units, task)
        return map(json.loads, session.in_tasks(self.spark, added, [json.dumps(g).encode() for g in groups]))

    def collect(self, staging: Staging) -> dict[str, int]:
        """Take the units' files as staged tables; rows by table, as their footers count them."""
        return {table: self._stage(table, staging) for table in ("predictions", "quarantine")}

    @property
    def _units(self) -> list[str]:
        return [*(u.id for u in self.parts), *self.rest]

    def _stage(self, table: str, staging: Staging) -> int:
        name, schema = {
            "predictions": (PREDICTIONS, self.task.predictions),
            "quarantine": (QUARANTINE, self.task.quarantine),
        }[table]
        files = [_folder(staging) / unit / name for unit in self._units]
        return publish.collect_table(staging, table, [f for f in files if f.is_file()], schema)


def _folder(staging: Staging) -> Path:
    """Workers write there by themselves, so that it is mounted."""
    return Path(str(staging.units))


def _raise_noted(folder: Path) -> None:
    """What a worker noted of the model."""
    if (note := folder / units.FAILED).is_file():
        raise of_model(json.loads(note.read_text()))


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
        Unsuitable: workers cannot read the input, or a rule has no form that they can evaluate.
    """
    if session.is_remote(spark):
        raise Unsuitable("Spark Connect gives no analyzed plan")
    parts, text = scan_input.cut(spark, table, config)
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
        text=text,
    )
    return ScanPass(
        spark,
        table,
        screen,
        *suites,
        published,
        parts,
        task,
        model.payload,
        config.quality.max_quarantined,
    )


def _rules(
    frame: DataFrame, rules: Sequence[RowRule], plan: SuitePlan | None, binding: Binding | None
) -> tuple[Rules, Program]:
    """Rules, and the model's inputs, as programs.

    Raises:
        Unsuitable: naming what cannot be expressed.
    """
    feeds = [make() for make in binding.columns] if binding else []
    # of what cannot be read nothing gets this far
    asked = [F.lit(False) if r.stage == "read" else r.predicate() for r in rules]
    wanted = compile_columns(frame, [*asked, *feeds])
    values, aggregates = compile_aggregates(frame, list(plan.aggregates.values()) if plan else [])
    if problems := (*wanted.problems, *values.problems):
        raise Unsuitable(f"a rule needs Spark: {', '.join(problems[:3])}")
    roots = wanted.program.roots
    verdicts = Program(wanted.program.steps, roots[: len(rules)])
    of_rules = Rules(
        names=tuple(r.name for r in rules),
        critical=tuple(r.critical for r in rules),
        reported=tuple(r.reported for r in rules),
        reading=tuple(r.critical and r.stage == "read" for r in rules),
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
