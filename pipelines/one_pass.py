"""The one plan: read → screen → score → split, with everything that is measured on the way.

This module only puts together what the stages declare. The plan is evaluated once, by ``publish.stage``;
afterwards :meth:`OnePass.measured` gives what was counted while the rows went by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType, _parse_datatype_string

from pipelines import scoring, screening
from pipelines.binding import Binding, spark_type
from pipelines.config import Config
from pipelines.errors import ConfigInvalid
from pipelines.expectations import SuitePlan
from pipelines.profiles import ColumnSpec
from pipelines.records import ModelColumn, ResolvedModel
from pipelines.rules import UNREADABLE, RowRule, broken_any, critical_bits, guarded
from pipelines.scoring import Scorer, WorkerState, merge_states
from pipelines.screening import Screen
from pipelines.source import FILE, RAW, SourceTable

_SLICE = 10  # bits counted together: at most 2**10 distinct values, which approx_top_k counts exactly


@dataclass(frozen=True)
class Measured:
    """What one evaluation of the plan counted.

    ``read`` counts rows at the source (in the workers where the files' footers are the independent count),
    ``state`` in the workers. ``input_counts`` and ``output_counts`` have
    one entry per rule name; the aggregates one per key of the suite's plan.
    """

    read: int
    state: WorkerState
    input_counts: Mapping[str, int]
    output_counts: Mapping[str, int]
    input_aggregates: Mapping[str, Any]
    output_aggregates: Mapping[str, Any]

    @property
    def readable(self) -> int:
        """Rows whose values could be judged: all but malformed records."""
        return self.read - self.input_counts.get(UNREADABLE, 0)


@dataclass(frozen=True)
class OnePass:
    """``frame`` is what to write, partitioned by its last column."""

    frame: DataFrame
    screen: Screen
    at_source: Observation | None
    at_end: Observation
    input_plan: SuitePlan | None
    output_plan: SuitePlan | None

    def measured(self) -> Measured:
        """Call it after the frame was written."""
        end = self.at_end.get
        state = merge_states(WorkerState.from_bytes(bytes(s)) for s in end["states"])
        source = self.at_source.get if self.at_source else {"rows": state.rows}
        return Measured(
            read=source["rows"],
            state=state,
            input_counts=_by_rule(self.screen.before, state.counts),
            output_counts=_from_slices(self.screen, end),
            input_aggregates=_of(self.input_plan, source),
            output_aggregates=_of(self.output_plan, end),
        )


def output_schema(kept: Sequence[str], schema: StructType, outputs: Sequence[ModelColumn]) -> StructType:
    """The columns an output suite may speak of: key and carried columns, then the model's outputs.

    Raises:
        ConfigInvalid: a name is used twice or is one of ours.
    """
    result = StructType()
    for name in kept:
        result = result.add(name, schema[name].dataType)
    for output in outputs:
        result = result.add(output.name, _parse_datatype_string(spark_type(output.type)))
    folded = [n.casefold() for n in result.names]
    taken = {n for n in result.names if folded.count(n.casefold()) > 1 or n.casefold() in screening.RESERVED}
    if taken:
        raise ConfigInvalid(
            f"source.key/carry: the predictions would have {sorted(taken)} twice.",
            hint=f"Rename these columns in the input; {', '.join(screening.RESERVED)} and the outputs are ours.",
        )
    return result


def suite_rules(plan: SuitePlan | None, stage: Any) -> tuple[RowRule, ...]:
    """A suite's conditions as row rules: critical ones under the expectation's name, then what is only counted."""
    if plan is None:
        return ()
    column = {c.key: c.column for c in plan.conditions}
    named = [RowRule(name, stage, _built(column[key])) for name, key in plan.critical.items()]
    rest = column.keys() - set(plan.critical.values())
    counted = [
        RowRule(k, stage, _built(c), critical=False, reported=False) for k, c in column.items() if k in rest
    ]
    return (*named, *counted)


def condition_counts(plan: SuitePlan, by_rule: Mapping[str, int]) -> dict[str, int]:
    """The measured count of each of a suite's conditions."""
    counts = {key: by_rule[name] for name, key in plan.critical.items()}
    return {c.key: counts[c.key] if c.key in counts else by_rule[c.key] for c in plan.conditions}


def readable(table: SourceTable) -> DataFrame:
    """The rows that the input suite judges, for expectations that need a pass of their own."""
    return table.frame.where(~broken_any(table.rules)).drop(RAW, FILE)


def _built(column: Column) -> Any:
    return lambda: column


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
    before = guarded((*table.rules, *binding.rules, *suite_rules(suites[0], "input")))
    after = suite_rules(suites[1], "output")
    outputs = scoring.output_columns(config.model.predict, model.outputs)
    kept = tuple(dict.fromkeys((*config.source.key, *config.source.carry)))
    screen = Screen(table.schema, before, after, kept, outputs)

    at_end = Observation()
    # Parquet's footers count the rows independently; where nothing else is to be measured, spare the rows the stop
    at_source = Observation() if table.rows is None or (suites[0] and suites[0].aggregates) else None
    frame = screening.mark(table.frame, screen)
    if table.rules and suites[0] and suites[0].aggregates:
        frame = screening.set_aside(frame, screen)
    if at_source:
        frame = frame.observe(at_source, F.count(F.lit(1)).alias("rows"), *_aggregates(suites[0]))
    frame = _scored(spark, config, model, frame, screen, binding, specs)
    frame = screening.mark_outputs(screening.flatten(frame, screen, "__scored"), screen)
    frame = frame.observe(
        at_end, F.collect_list("__state").alias("states"), *_slices(screen), *_aggregates(suites[1])
    )
    frame = screening.split(frame, screen, model.model_id, F.lit(_planned(config.run_date)))
    return OnePass(frame, screen, at_source, at_end, *suites)


def _scored(
    spark: SparkSession,
    config: Config,
    model: ResolvedModel,
    frame: DataFrame,
    screen: Screen,
    binding: Binding,
    specs: Sequence[ColumnSpec],
) -> DataFrame:
    scorer = Scorer(
        model=model,
        method=config.model.predict,
        outputs=screen.outputs,
        critical=tuple(critical_bits(screen.before)),
        specs=tuple(specs),
        trusted_types=config.model.trusted_types,
    )
    payload = scoring.ship(spark, model.payload)
    masks = [F.col(m) for m in screen.masks]
    column = scorer.column(payload, [c() for c in binding.columns], masks, spark_type)
    return frame.withColumn("__scored", column)


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
