"""Which GX metric is measured how.

The planner walks GX's own metric graph of each expectation over a frame that has a schema and no data. Every
metric becomes a value known from the schema, a *recipe* on the measured counts and aggregates, or something
that only a pass of GX's own can give.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from great_expectations.exceptions import MetricResolutionError
from great_expectations.util import convert_to_json_serializable
from great_expectations.validator.metric_configuration import MetricConfiguration
from great_expectations.validator.validation_graph import ValidationGraph
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from pipelines.expectations.engine import RESULT_FORMAT, NeedsData, schema_engine
from pipelines.expectations.plan import Step, short_key
from pipelines.expectations.suites import Rule

# The most distinct values that one column is tracked with before GX has to read the column itself.
TRACKED = 4096

PARTIAL = (".condition", ".map", ".aggregate_fn")
# Their conditions are Python functions in GX: probing them would start Python workers.
_PYTHON = ("json_parseable", "match_strftime_format", "dateutil_parseable")
# This one raises on text that is no JSON; carried along it would take the whole run down.
_RAISING = ("column_values.match_json_schema.condition",)
_NUMERIC = ("column.mean", "column.sum", "column.standard_deviation")
_AGGREGATES: Mapping[str, Callable[[Column], Column]] = {
    "column.max": F.max,
    "column.min": F.min,
    "column.mean": F.mean,
    "column.sum": F.sum,
    "column.standard_deviation": F.stddev_samp,
}
_INTEGRAL = (T.ByteType, T.ShortType, T.IntegerType, T.LongType)

Recipe = Callable[["Measured"], Any]


class Unmeasured(Exception):
    """The pass did not measure (or not exactly) what a recipe needs: GX has to compute it."""


@dataclass(frozen=True)
class Measured:
    """What the caller measured in the one pass over ``rows`` rows."""

    rows: int
    counts: Mapping[str, int]
    aggregates: Mapping[str, Any]

    def count(self, key: str | None) -> int:
        """Rows for which the condition is true; None stands for the condition that always is."""
        if key is None:
            return self.rows
        if key not in self.counts:
            raise Unmeasured(key)
        return self.counts[key]

    def aggregate(self, key: str) -> Any:
        if key not in self.aggregates:
            raise Unmeasured(key)
        return self.aggregates[key]

    def items(self, key: str) -> list[tuple[Any, int]]:
        """Distinct non-null values with their counts, if they were few enough to be counted exactly.

        Beyond ``TRACKED`` values the sketch forgets some and its counts become estimates. Two independent
        witnesses must agree that it did not: the counts add up to all rows, and HyperLogLog++ sees at most
        half as many values as fit (its error is 5 % at one standard deviation).
        """
        found = [(item["item"], item["count"]) for item in self.aggregate(f"{key}_top") or ()]
        exact = sum(count for _, count in found) == self.rows and self.aggregate(f"{key}_hll") <= TRACKED / 2
        if not exact:
            raise Unmeasured(key)
        return [(value, count) for value, count in found if value is not None]


NOTHING = Measured(0, {}, {})


class Planner:
    """Collects conditions, aggregates and steps rule by rule; see :func:`pipelines.expectations.plan_suite`."""

    def __init__(self, kind: str, schema: T.StructType, spark: SparkSession) -> None:
        self.batch_id = f"scoreline-{kind}"
        self.schema = schema
        self.frame = probe_frame(schema, spark)
        self.engine = schema_engine(spark, self.batch_id, self.frame)
        self.steps: dict[str, tuple[Step, ...]] = {}
        self.problems: list[str] = []
        self._rules: dict[str, Rule] = {}
        self._conditions: dict[str, Column] = {}
        self._aggregates: dict[str, Column] = {}
        self._fixed: dict[Any, Any] = {}
        self._dry: dict[Any, Any] = {}  # each metric as it would be over an empty table
        self._recipes: dict[Any, Recipe | None] = {}
        self._keys: dict[Any, set[str]] = {}
        self._critical: dict[str, str] = {}
        self._unserved: dict[Any, str] = {}
        self._unprobed: set[str] = set()
        self._extra: set[str] = set()

    def add(self, rule: Rule) -> None:
        """Plan one rule."""
        try:
            metrics = metric_order(rule, self.engine, self.batch_id)
        except Exception as error:  # whatever GX raises before it has seen any data
            self.problems.append(f"{rule.name}: Great Expectations cannot judge this on Spark: {_first_line(error)}")
            return
        self._rules[rule.name] = rule
        for metric in metrics:
            if metric.id not in self._recipes and metric.id not in self._unserved:
                self._plan(metric, rule)
        if any(metric.id in self._unserved for metric in metrics):
            self._extra.add(rule.name)
        self.steps[rule.name] = tuple(Step(m, self._recipes.get(m.id)) for m in metrics)
        violation = f"{getattr(rule.expectation, 'map_metric', None)}.unexpected_count"
        for metric in metrics if rule.severity == "critical" else ():
            if metric.metric_name == violation and (keys := self._keys.get(metric.id)):
                self._critical[rule.name] = min(keys, key=lambda key: key.startswith("domain-"))

    def probe(self) -> None:
        """Evaluate all conditions on two rows that are no data: patterns and casts fail here or nowhere.

        A rule whose comparison would make a text column fail at run time (text that must be a number) is
        left to GX, which reports it in its own way, unless rows have to be judged by it.
        """
        probed = {k: c for k, c in self._conditions.items() if k not in self._unprobed}
        if not probed or _failure(self.frame, list(probed.values())) is None:
            return
        failures = {k: f for k, c in probed.items() if (f := _failure(self.frame, [c])) is not None}
        for name, rule in self._rules.items():
            for failure in (failures[key] for key in self._used(name) if key in failures):
                if "CAST_INVALID_INPUT" in failure and rule.severity != "critical":
                    self._extra.add(name)
                else:
                    self.problems.append(f"{name}: {failure}")

    @property
    def conditions(self) -> dict[str, Column]:
        """Those that a rule measured in the pass needs."""
        used = self._needed()
        return {key: column for key, column in self._conditions.items() if key in used}

    @property
    def aggregates(self) -> dict[str, Column]:
        """Those that a rule measured in the pass needs."""
        used = self._needed()
        return {key: column for key, column in self._aggregates.items() if key in used}

    def critical(self) -> dict[str, str]:
        return {name: key for name, key in self._critical.items() if name not in self._extra}

    def extra(self) -> tuple[str, ...]:
        return tuple(name for name in self._rules if name in self._extra)

    def _needed(self) -> set[str]:
        return {key for name in self._rules if name not in self._extra for key in self._used(name)}

    def _used(self, name: str) -> set[str]:
        return {key for step in self.steps[name] for key in self._keys.get(step.metric.id, ())}

    def _plan(self, metric: MetricConfiguration, rule: Rule) -> None:
        name = metric.metric_name
        dependencies = list(metric.metric_dependencies.values())
        if any(d.id in self._unserved for d in dependencies):
            self._unserved[metric.id] = "depends on such a metric"
        elif name.endswith(PARTIAL):
            self._plan_partial(metric, dependencies, rule)
        else:
            recipe = self._recipe(metric, dependencies, rule)
            if recipe is not None:
                self._serve(metric, recipe)
            elif metric.id not in self._unserved:
                self._plan_derived(metric, dependencies)

    def _plan_partial(self, metric: MetricConfiguration, dependencies: list[Any], rule: Rule) -> None:
        """Conditions and aggregates that GX builds as columns; their value is the column, not data."""
        name = metric.metric_name
        if any(self._keys.get(d.id) and d.metric_name != "table.row_count" for d in dependencies):
            self._unserved[metric.id] = "is built from measured values"
            return
        if name in _RAISING:
            self._unserved[metric.id] = "may raise on data"
            return
        try:
            partial = self.engine.resolve_metrics([metric], self._dry)[metric.id]
        except MetricResolutionError as error:
            cause = error.__cause__
            if not isinstance(cause, NeedsData):
                self.problems.append(f"{rule.name}: {_first_line(cause or error)}")
            self._unserved[metric.id] = _first_line(error)
            return
        if " OVER (" in str(partial[0]):
            self._unserved[metric.id] = "is a window"
            return
        self._fix(metric, partial)

    def _plan_derived(self, metric: MetricConfiguration, dependencies: list[Any]) -> None:
        """Metrics that GX computes from others in plain Python, or from the schema: no recipe needed."""
        try:
            value = self.engine.resolve_metrics([metric], self._dry)[metric.id]
        except MetricResolutionError as error:
            if isinstance(error.__cause__, NeedsData):
                self._unserved[metric.id] = _first_line(error)
                return
            value = None  # it stumbled over the empty values of planning: GX tries again with real ones
        if all(d.id in self._fixed for d in dependencies):
            self._fix(metric, value)
        else:
            self._serve(metric, None, dry=value)

    def _serve(self, metric: MetricConfiguration, recipe: Recipe | None, dry: Any = None) -> None:
        self._recipes[metric.id] = recipe
        self._dry[metric.id] = _value(recipe, NOTHING) if recipe else dry

    def _fix(self, metric: MetricConfiguration, value: Any) -> None:
        """A value that no data can change."""
        self._fixed[metric.id] = value
        self._serve(metric, lambda _: value)

    def _recipe(self, metric: MetricConfiguration, dependencies: list[Any], rule: Rule) -> Recipe | None:
        name = metric.metric_name
        if name == "table.row_count":
            key = self._domain_key(metric, metric.metric_domain_kwargs)
            return lambda measured: measured.count(key)
        if name.endswith(".unexpected_values"):
            return lambda _: []  # what GX collects under RESULT_FORMAT
        if name.endswith((".unexpected_count", ".filtered_row_count")):
            return self._counting(metric)
        if name in _AGGREGATES:
            return self._aggregate(metric, rule)
        if name == "column.non_null_count":
            return self._non_null(metric)
        if name == "column.value_counts" or name.startswith("column.distinct_values"):
            return self._distinct(metric)
        return None

    def _counting(self, metric: MetricConfiguration) -> Recipe | None:
        aggregate = metric.metric_dependencies.get("metric_partial_fn")
        owner = aggregate or metric
        condition = owner.metric_dependencies.get("unexpected_condition")
        if condition is None:
            return None
        column, compute, accessor = self._fixed[condition.id]
        # GX filters differently in its two ways of counting: only the second sees ignore_row_if.
        kwargs = compute if aggregate else {**compute, **accessor}
        domain_key = self._domain_key(metric, kwargs)
        if metric.metric_name.endswith(".filtered_row_count"):
            return lambda measured: measured.count(domain_key)
        key = self._condition(metric, condition.metric_name, column, self.engine.domain(kwargs))
        if not aggregate:
            return lambda measured: measured.count(key)
        # A sum over no rows is NULL, and GX tells the two apart.
        return lambda measured: measured.count(key) if measured.count(domain_key) else None

    def _domain_key(self, metric: MetricConfiguration, kwargs: Mapping[str, Any]) -> str | None:
        """The key of the condition "GX keeps this row", or None where GX keeps all."""
        domain = self.engine.domain(kwargs)
        if domain is None:
            return None
        wording = [str(kwargs.get(name)) for name in ("row_condition", "filter_conditions")]
        key = f"domain-{short_key(domain, *wording)}"
        self._conditions[key] = F.coalesce(domain, F.lit(False))
        self._keys.setdefault(metric.id, set()).add(key)
        return key

    def _condition(self, metric: MetricConfiguration, name: str, column: Column, domain: Column | None) -> str:
        key = f"{name.removesuffix('.condition')}-{short_key(*metric.id)}"
        inside = column if domain is None else F.when(domain, column)
        self._conditions[key] = F.coalesce(inside, F.lit(False))
        self._keys.setdefault(metric.id, set()).add(key)
        if any(part in name for part in _PYTHON):
            self._unprobed.add(key)
        return key

    def _column(self, metric: MetricConfiguration) -> tuple[Column, T.DataType, Column | None]:
        """The column of ``metric``, its type, and the column as NULL outside of the metric's domain."""
        column = F.col(metric.metric_domain_kwargs["column"])
        domain = self.engine.domain(metric.metric_domain_kwargs)
        inside = column if domain is None else F.when(domain, column)
        return inside, self.frame.select(column).schema[0].dataType, domain

    def _aggregate(self, metric: MetricConfiguration, rule: Rule) -> Recipe | None:
        name = metric.metric_name
        column, data_type, domain = self._column(metric)
        if name in _NUMERIC and not isinstance(data_type, T.NumericType):
            self.problems.append(f"{rule.name}: needs a column of numbers, this one is {data_type.simpleString()}")
            return None
        own = self._fixed[metric.metric_dependencies["metric_partial_fn"].id][0]
        if domain is not None:
            widened = column.cast("double") if name == "column.sum" and isinstance(data_type, _INTEGRAL) else column
            own = _AGGREGATES[name](widened)
        key = f"{name}-{short_key(*metric.id)}"
        self._aggregates[key] = own
        self._keys[metric.id] = {key}
        return lambda measured: convert_to_json_serializable(measured.aggregate(key))

    def _non_null(self, metric: MetricConfiguration) -> Recipe:
        column = F.col(metric.metric_domain_kwargs["column"])
        domain = self.engine.domain(metric.metric_domain_kwargs)
        key = self._condition(metric, "column.non_null", column.isNotNull(), domain)
        return lambda measured: measured.count(key)

    def _distinct(self, metric: MetricConfiguration) -> Recipe | None:
        """Few distinct values are counted exactly by a sketch; types whose equality Python shares."""
        column, data_type, _ = self._column(metric)
        wanted = metric.metric_value_kwargs.get("value_set")
        finish = _distinct_finish(metric.metric_name, wanted or [])
        if finish is None or not _comparable(data_type, wanted or []):
            self._unserved[metric.id] = "has too many values, or of a type compared otherwise"
            return None
        key = f"distinct-{short_key(metric.metric_domain_kwargs_id)}"
        tracked = F.lit(TRACKED)
        self._aggregates[f"{key}_top"] = F.call_function("approx_top_k", column, tracked, tracked)
        self._aggregates[f"{key}_hll"] = F.approx_count_distinct(column)
        self._keys[metric.id] = {f"{key}_top", f"{key}_hll"}
        return lambda measured: finish(measured.items(key))


def metric_order(rule: Rule, engine: Any, batch_id: str) -> list[MetricConfiguration]:
    """All metrics behind ``rule``, each after those it depends on."""
    ordered: dict[Any, MetricConfiguration] = {}

    def visit(metric: MetricConfiguration) -> None:
        if metric.id not in ordered:
            for dependency in metric.metric_dependencies.values():
                visit(dependency)
            ordered[metric.id] = metric

    graph = ValidationGraph(execution_engine=engine)
    for metric in wanted_metrics(rule, engine, batch_id):
        graph.build_metric_dependency_graph(metric)
        visit(metric)
    return list(ordered.values())


def wanted_metrics(rule: Rule, engine: Any, batch_id: str) -> list[MetricConfiguration]:
    """The metrics that GX asks for to judge ``rule``."""
    dependencies = bound(rule, batch_id).get_validation_dependencies(engine, {"result_format": dict(RESULT_FORMAT)})
    metrics: list[MetricConfiguration] = dependencies.get_metric_configurations()
    return metrics


def bound(rule: Rule, batch_id: str) -> Any:
    """The expectation of ``rule`` for one batch, as GX's validator prepares it."""
    return rule.expectation.copy(update={"batch_id": batch_id})


def probe_frame(schema: T.StructType, spark: SparkSession) -> DataFrame:
    """Two rows of the given columns that no data source delivered: one of harmless values, one of NULLs.

    The rows are part of the query plan, so that Spark evaluates projections on them without a job.
    """
    nullable = T.StructType([T.StructField(f.name, f.dataType, True) for f in schema.fields])
    sample = {f.name: _sample(f.dataType) for f in nullable.fields}
    table = pa.Table.from_pylist([sample, dict.fromkeys(sample)], schema=to_arrow_schema(nullable))
    return spark.createDataFrame(table, schema=nullable)


def _sample(data_type: T.DataType) -> Any:
    if isinstance(data_type, T.StringType):
        return "x"
    if isinstance(data_type, T.NumericType):
        return 0
    if isinstance(data_type, T.DateType):
        return datetime.date(2000, 1, 1)
    return None


def _failure(frame: DataFrame, columns: Sequence[Column]) -> str | None:
    """What goes wrong in evaluating ``columns``, in one line."""
    try:
        frame.select(*columns).collect()
    except PySparkException as error:
        return _first_line(error)
    return None


def _value(recipe: Recipe, measured: Measured) -> Any:
    try:
        return recipe(measured)
    except Unmeasured:
        return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _comparable(data_type: T.DataType, values: Sequence[Any]) -> bool:
    """Whether Spark and Python agree on what is equal for this column and these configured values."""
    if isinstance(data_type, T.StringType):
        return all(isinstance(v, str) for v in values)
    if isinstance(data_type, T.BooleanType):
        return all(isinstance(v, bool) for v in values)
    if isinstance(data_type, _INTEGRAL):
        return all(isinstance(v, int) and not isinstance(v, bool) for v in values)
    return isinstance(data_type, T.DateType) and not values


def _distinct_finish(name: str, wanted: Sequence[Any]) -> Callable[[list[tuple[Any, int]]], Any] | None:
    """How GX's Spark metric ``name`` follows from the distinct values and their counts."""
    finishes: dict[str, Callable[[list[tuple[Any, int]]], Any]] = {
        "column.distinct_values": lambda items: {v for v, _ in items},
        "column.distinct_values.count": len,
        "column.distinct_values.not_in_set": lambda items: sorted(v for v, _ in items if v not in wanted),
        "column.distinct_values.not_in_set.count": lambda items: sum(v not in wanted for v, _ in items),
        "column.distinct_values.missing_from_column": lambda items: _missing(items, wanted),
        "column.distinct_values.missing_from_column.count": lambda items: (
            len(wanted) - sum(v in wanted for v, _ in items)
        ),
        "column.value_counts": _value_counts,
    }
    return finishes.get(name)


def _missing(items: list[tuple[Any, int]], wanted: Sequence[Any]) -> list[Any]:
    found = {value for value, _ in items}
    return [value for value in wanted if value not in found]


def _value_counts(items: list[tuple[Any, int]]) -> Any:
    import pandas as pd

    ordered = sorted(items)
    index = pd.Index([value for value, _ in ordered], name="value")
    return pd.Series([count for _, count in ordered], index=index, name="count")
