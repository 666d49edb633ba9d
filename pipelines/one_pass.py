"""The one plan: read → screen → score → split, with everything that is measured on the way.

Spark reads and writes the rows here, whatever they come from; :mod:`pipelines.scan_pass` is the faster engine for
plain Parquet and CSV.

The plan is evaluated once, by :meth:`OnePass.run`; afterwards :meth:`OnePass.measured` gives what was
counted while the rows went by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from pipelines import publish, screening, session, storage
from pipelines.binding import Binding, spark_type
from pipelines.config import Config
from pipelines.errors import InvariantBroken
from pipelines.expectations import SuitePlan
from pipelines.passes import Measured, scorer, screen_of, slices
from pipelines.profiles import ColumnSpec
from pipelines.publish import Staging
from pipelines.records import ResolvedModel
from pipelines.rules import RowRule, broken
from pipelines.scoring import WorkerState, merge_states
from pipelines.screening import Screen
from pipelines.source import SourceTable

_SLICE = 10  # bits counted together: at most 2**10 distinct values, which approx_top_k counts exactly


@dataclass(frozen=True)
class OnePass:
    """``frame`` is what to write, partitioned by its last column; ``model_id`` is what all rows carry."""

    frame: DataFrame
    model_id: str
    screen: Screen
    at_source: Observation | None
    at_end: Observation
    input_plan: SuitePlan | None
    output_plan: SuitePlan | None

    name = "udf"
    reused = 0

    @property
    def schema(self) -> StructType:
        """The columns of the predictions."""
        return self.frame.drop(screening.OUTCOME).schema

    def run(self, staging: Staging) -> None:
        """The one big Spark job."""
        with session.interruptible(self.frame.sparkSession):
            publish.stage(self.frame, staging, screening.OUTCOME)

    def collect(self, staging: Staging) -> dict[str, int]:
        """Take what Spark wrote as staged tables; rows by table, as their footers count them."""
        scored, packed = (
            staging.written / f"{screening.OUTCOME}={outcome}"
            for outcome in (screening.SCORED, screening.QUARANTINED)
        )
        files = storage.found(scored, "**/*.parquet")
        counts = {
            "predictions": publish.collect_table(staging, "predictions", files, to_arrow_schema(self.schema))
        }
        source = storage.uri(packed) if packed.is_dir() else None
        unpacked = staging.folder / "unpacked"
        quarantine = screening.unpack(self.frame.sparkSession, source, self.screen, self.model_id)
        if source:
            with session.interruptible(self.frame.sparkSession):
                quarantine.write.mode("error").parquet(storage.uri(unpacked))
        files, schema = storage.found(unpacked, "**/*.parquet"), to_arrow_schema(quarantine.schema)
        counts["quarantine"] = publish.collect_table(staging, "quarantine", files, schema)
        expected = sum(publish.footer_rows(f) for f in storage.found(packed, "**/*.parquet"))
        if counts["quarantine"] != expected:
            raise InvariantBroken(
                f"{expected} rows were quarantined but {counts['quarantine']} unpacked.",
                hint="Nothing was published.",
            )
        return counts

    def measured(self, staging: Staging) -> Measured:
        """Call it after the frame was written."""
        end = self.at_end.get
        state = merge_states(_in_order(WorkerState.from_bytes(bytes(s)) for s in end["states"]))
        source = self.at_source.get if self.at_source else {"rows": state.rows}
        return Measured(
            read=source["rows"],
            state=state,
            input_counts=_by_rule(self.screen.before, state.counts),
            output_counts=_from_slices(self.screen, end),
            input_aggregates=_of(self.input_plan, source),
            output_aggregates=_of(self.output_plan, end),
        )


def assemble(
    spark: SparkSession,
    config: Config,
    model: ResolvedModel,
    table: SourceTable,
    binding: Binding,
    suites: tuple[SuitePlan | None, SuitePlan | None],
    specs: Sequence[ColumnSpec],
) -> OnePass:
    """Declare the whole plan; nothing runs."""
    screen = screen_of(config, model, table, binding, suites)
    at_end = Observation()
    # Parquet's footers count the rows independently; where nothing else is to be measured, spare the rows the stop
    at_source = Observation() if table.rows is None or (suites[0] and suites[0].aggregates) else None
    frame = screening.mark(table.frame, screen)
    if table.rules and suites[0] and suites[0].aggregates:
        frame = screening.set_aside(frame, screen)
    if at_source:
        frame = frame.observe(at_source, F.count(F.lit(1)).alias("rows"), *_aggregates(suites[0]))
    scoring_column = scorer(config, model, screen, specs).column(
        session.ship_bytes(spark, model.payload),
        [c() for c in binding.columns],
        [F.col(m) for m in screen.masks],
        spark_type,
        _slice_values(screen, slices(config, table)),
    )
    frame = frame.withColumn("__scored", scoring_column)
    frame = screening.mark_outputs(screening.flatten(frame, screen, "__scored"), screen)
    frame = frame.observe(
        at_end, F.collect_list("__state").alias("states"), *_slices(screen), *_aggregates(suites[1])
    )
    frame = screening.split(frame, screen, model.model_id, F.lit(_planned(config.run_date)))
    return OnePass(frame, model.model_id, screen, at_source, at_end, *suites)


def _in_order(states: Iterable[WorkerState]) -> list[WorkerState]:
    """By what the tasks saw, not by when they ended: sums then round alike in every run."""
    return sorted(states, key=lambda s: b"" if s.profile is None else s.profile.to_bytes())


def _slice_values(screen: Screen, values: Sequence[Column]) -> list[Column]:
    """As text, and not asked of rows that are refused: what such a row holds may make an expression fail."""
    refused = broken([F.col(m) for m in screen.masks], screen.before)
    return [F.when(~refused, value.cast("string")) for value in values]


def _planned(day: date) -> datetime:
    """The run's planned time: a rerun writes the same."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _aggregates(plan: SuitePlan | None) -> list[Column]:
    return [column.alias(key) for key, column in plan.aggregates.items()] if plan else []


def _of(plan: SuitePlan | None, row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in plan.aggregates} if plan else {}


def _slices(screen: Screen) -> list[Column]:
    """Counts of the output masks, ten bits at a time; rows without any bit are NULL and cost nothing."""
    columns = []
    for i, _ in enumerate(range(0, len(screen.after), _SLICE)):
        mask, shift = divmod(i * _SLICE, 60)
        bits = F.shiftright(F.col(screen.output_masks[mask]), shift).bitwiseAND(F.lit(2**_SLICE - 1))
        wanted = F.when(bits != 0, bits)
        columns.append(F.call_function("approx_top_k", wanted, F.lit(1024), F.lit(1025)).alias(f"__slice{i}"))
    return columns


def _from_slices(screen: Screen, row: Mapping[str, Any]) -> dict[str, int]:
    items = [row[f"__slice{start // _SLICE}"] or () for start in range(0, len(screen.after), _SLICE)]
    counts = [_with_bit(items[i // _SLICE], i % _SLICE) for i in range(len(screen.after))]
    return {rule.name: n for rule, n in zip(screen.after, counts, strict=True)}


def _with_bit(items: Sequence[Any], bit: int) -> int:
    """Rows in whose slice this bit is set."""
    return sum(i["count"] for i in items if i["item"] is not None and i["item"] >> bit & 1)


def _by_rule(rules: Sequence[RowRule], counts: Sequence[Sequence[int]]) -> dict[str, int]:
    flat = [n for mask in counts for n in mask]
    return {rule.name: n for rule, n in zip(rules, flat or [0] * len(rules), strict=False)}
