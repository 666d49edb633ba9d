"""What both engines share: the rules of a run, what a pass measures, and what a pass is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import AtomicType, BinaryType, DataType, StructType, _parse_datatype_string

from pipelines import scoring, screening
from pipelines.binding import Binding, spark_type
from pipelines.config import Config
from pipelines.errors import ConfigInvalid
from pipelines.expectations import SuitePlan
from pipelines.profiles import ColumnSpec
from pipelines.publish import Staging
from pipelines.records import ModelColumn, ResolvedModel
from pipelines.rules import UNREADABLE, RowRule, broken_any, critical_bits, guarded
from pipelines.scoring import Scorer, WorkerState
from pipelines.screening import Screen
from pipelines.source import FILE, RAW, SourceTable


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


class Pass(Protocol):
    """One evaluation of everything: read, screen, score, measure, write.

    ``schema`` are the columns of the predictions; ``reused`` rows were scored by an earlier attempt.
    """

    @property
    def name(self) -> str: ...

    @property
    def reused(self) -> int: ...

    @property
    def screen(self) -> Screen: ...

    @property
    def input_plan(self) -> SuitePlan | None: ...

    @property
    def output_plan(self) -> SuitePlan | None: ...

    @property
    def schema(self) -> StructType: ...

    def run(self, staging: Staging) -> None: ...

    def measured(self, staging: Staging) -> Measured: ...

    def collect(self, staging: Staging) -> dict[str, int]: ...


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


def kept(config: Config) -> tuple[str, ...]:
    """Source columns that go into the predictions: the key and what is carried."""
    return tuple(dict.fromkeys((*config.source.key, *config.source.carry)))


def slices(config: Config, table: SourceTable) -> list[Column]:
    """The slicing expressions as columns over the table's; nothing is run.

    Raises:
        ConfigInvalid: Spark cannot resolve one, it says nothing of a single row, or its values are no text.
    """
    rows = table.frame.drop(RAW, FILE)
    for i, text in enumerate(config.drift.slices):
        try:
            kind = rows.select(F.expr(text).alias("value")).schema["value"].dataType
            # a condition may hold no aggregate, window or generator; an aggregate nothing that is not deterministic
            _ = rows.where(F.expr(text).isNotNull()).agg(F.count(F.expr(text))).schema
            problem = _no_slice(kind)
        except PySparkException as error:
            problem = _unsteady(error) or str(error).strip().splitlines()[0]
        if problem:
            raise ConfigInvalid(
                f"drift.slices[{i}]: found {text!r}: {problem.rstrip('.')}.",
                hint="Give Spark SQL over the source's columns with few values, such as region or amount > 100; "
                "names with spaces stand in `backticks`.",
            )
    return [F.expr(text) for text in config.drift.slices]


def _unsteady(error: PySparkException) -> str:
    unsteady = error.getCondition() == "AGGREGATE_FUNCTION_WITH_NONDETERMINISTIC_EXPRESSION"
    return "its values change from one time to the next" if unsteady else ""


def _no_slice(kind: DataType) -> str:
    plain = isinstance(kind, AtomicType) and not isinstance(kind, BinaryType)
    return "" if plain else f"its values are {kind.simpleString()}, expected text, numbers, booleans or times"


def screen_of(
    config: Config,
    model: ResolvedModel,
    table: SourceTable,
    binding: Binding,
    suites: tuple[SuitePlan | None, SuitePlan | None],
) -> Screen:
    """All rules of a run, in the order in which they are asked."""
    before = guarded((*table.rules, *binding.rules, *suite_rules(suites[0], "input")))
    after = suite_rules(suites[1], "output")
    outputs = scoring.output_columns(config.model.predict, model.outputs)
    return Screen(table.schema, before, after, kept(config), outputs)


def prediction_schema(predicted: StructType) -> StructType:
    """What is published: key, carried columns and outputs, then ``model_id`` and ``timestamp``."""
    return StructType(predicted.fields).add("model_id", "string").add("timestamp", "timestamp")


def scorer(config: Config, model: ResolvedModel, screen: Screen, specs: Sequence[ColumnSpec]) -> Scorer:
    """How the model is called."""
    return Scorer(
        model=model,
        method=config.model.predict,
        outputs=screen.outputs,
        critical=tuple(critical_bits(screen.before)),
        specs=tuple(specs),
        trusted_types=config.model.trusted_types,
        batch_timeout=config.scoring.batch_timeout,
        slices=config.drift.slices,
        discreet=bool(config.quality.sensitive),
        environment={} if config.model.environment == "inherit" else model.saved_with,
        compile_tolerance=config.scoring.compile_tolerance if config.scoring.compile == "auto" else None,
    )
