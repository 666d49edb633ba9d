"""Which GX metric is measured how.

The planner walks GX's own metric graph of each expectation over a frame that has a schema and no data. Every
metric becomes a value known from the schema, a *recipe* on the measured counts and aggregates, something GX
derives from these in plain Python, or something that only a pass of GX's own can give.
"""

from __future__ import annotations

from typing import Any

from great_expectations.exceptions.exceptions import MetricResolutionError
from great_expectations.validator.metric_configuration import MetricConfiguration
from pyspark.sql import Column, SparkSession
from pyspark.sql import types as T

from pipelines.expectations.engine import PARTIAL, NeedsData, metric_order, schema_engine
from pipelines.expectations.measured import NOTHING, Recipe, value
from pipelines.expectations.plan import Condition, Step
from pipelines.expectations.probing import failures, first_line, probe_frame
from pipelines.expectations.recipes import Cargo, Unservable
from pipelines.expectations.suites import Rule

# This one raises on text that is no JSON; carried along it would take the whole run down.
_RAISING = ("column_values.match_json_schema.condition",)
# How a column prints a window, which looks at other rows: in classic Spark and with Connect.
_WINDOW = (" OVER (", "WindowExpression(")
# This one raises on anything but text.
_ON_TEXT = ("column_values.match_strftime_format.condition",)


class Planner:
    """Collects conditions, aggregates and steps rule by rule; see :func:`pipelines.expectations.plan_suite`."""

    def __init__(self, kind: str, schema: T.StructType, spark: SparkSession) -> None:
        self.batch_id = f"scoreline-{kind}"
        self.frame = probe_frame(schema, spark)
        self.engine = schema_engine(spark, self.batch_id, self.frame)
        self._cargo = Cargo(self.engine, self.frame)
        self.steps: dict[str, tuple[Step, ...]] = {}
        self.problems: list[str] = []
        self._rules: dict[str, Rule] = {}
        self._extra: set[str] = set()
        self._critical: dict[str, str] = {}
        # By metric id:
        self._recipes: dict[Any, Recipe | None] = {}
        self._fixed: dict[Any, Any] = {}  # values that no data can change
        self._dry: dict[Any, Any] = {}  # values over an empty table
        self._unserved: set[Any] = set()

    def add(self, rule: Rule) -> None:
        """Plan one rule."""
        try:
            metrics = metric_order(rule, self.engine, self.batch_id)
        except Exception as error:  # whatever GX raises before it has seen any data
            self.problems.append(
                f"{rule.name}: Great Expectations cannot judge this on Spark: {first_line(error)}"
            )
            return
        self._rules[rule.name] = rule
        for metric in metrics:
            if metric.id not in self._recipes and metric.id not in self._unserved:
                self._plan(metric, rule)
        self.steps[rule.name] = tuple(Step(m, self._recipes.get(m.id)) for m in metrics)
        if any(metric.id in self._unserved for metric in metrics):
            self._extra.add(rule.name)
        elif rule.severity == "critical":
            self._note_critical(rule, metrics)

    def probe(self) -> None:
        """Evaluate all conditions on two rows that are no data: patterns and casts fail here or nowhere.

        Domains are left out of it, since which rows they hold back depends on the data. A rule that compares
        text with numbers, and so fails at run time on text that is none, is left to GX, which reports it in
        its own way; unless rows have to be judged by it.
        """
        found = failures(self.frame, self._cargo.bare)
        for name, rule in self._rules.items():
            for reason in (found[key] for key in sorted(self._used(name)) if key in found):
                if "CAST_INVALID_INPUT" in reason and rule.severity != "critical":
                    self._extra.add(name)
                else:
                    self.problems.append(f"{name}: {reason}")

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Those that a rule measured in the pass needs."""
        needed = self._needed()
        return tuple(condition for key, condition in self._cargo.conditions.items() if key in needed)

    @property
    def aggregates(self) -> dict[str, Column]:
        """Those that a rule measured in the pass needs."""
        needed = self._needed()
        return {key: column for key, column in self._cargo.aggregates.items() if key in needed}

    @property
    def critical(self) -> dict[str, str]:
        """Rule names and the keys of the conditions that are true for rows violating them."""
        return {name: key for name, key in self._critical.items() if name not in self._extra}

    @property
    def extra(self) -> tuple[str, ...]:
        """The rules that need a pass of GX's own, in the order of the suite."""
        return tuple(name for name in self._rules if name in self._extra)

    def _note_critical(self, rule: Rule, metrics: list[MetricConfiguration]) -> None:
        violation = f"{getattr(rule.expectation, 'map_metric', None)}.unexpected_count"
        for metric in (m for m in metrics if m.metric_name == violation):
            keys = self._cargo.keys[metric.id]
            self._critical[rule.name] = next(key for key in keys if not key.startswith("domain-"))
            if "row_condition" in rule.kwargs and not metric.metric_domain_kwargs.get("row_condition"):
                self.problems.append(
                    f"{rule.name}: Great Expectations ignores row_condition here, so that rows outside of it would "
                    "be refused; remove the condition, or set severity to warning"
                )

    def _needed(self) -> set[str]:
        return {key for name in self._rules if name not in self._extra for key in self._used(name)}

    def _used(self, name: str) -> set[str]:
        return {key for step in self.steps[name] for key in self._cargo.keys.get(step.metric.id, ())}

    def _plan(self, metric: MetricConfiguration, rule: Rule) -> None:
        dependencies = list(metric.metric_dependencies.values())
        if any(d.id in self._unserved for d in dependencies):
            self._unserved.add(metric.id)
        elif metric.metric_name.endswith(PARTIAL):
            self._plan_partial(metric, dependencies, rule)
        else:
            self._plan_value(metric, dependencies, rule)

    def _plan_value(self, metric: MetricConfiguration, dependencies: list[Any], rule: Rule) -> None:
        try:
            recipe = self._cargo.recipe(metric, self._fixed)
        except Unservable:
            self._unserved.add(metric.id)
        except TypeError as error:
            self._unserved.add(metric.id)
            self.problems.append(f"{rule.name}: {error}")
        else:
            if recipe is None:
                self._plan_derived(metric, dependencies)
            else:
                self._serve(metric, recipe, value(recipe, NOTHING))

    def _plan_partial(self, metric: MetricConfiguration, dependencies: list[Any], rule: Rule) -> None:
        """Conditions and aggregates that GX builds as columns; their value is the column, not data."""
        if self._is_data_bound(metric, dependencies):
            self._unserved.add(metric.id)
            return
        try:
            partial = self.engine.resolve_metrics([metric], self._dry)[metric.id]
        except MetricResolutionError as error:
            if not isinstance(error.__cause__, NeedsData):
                self.problems.append(f"{rule.name}: {first_line(error.__cause__ or error)}")
            self._unserved.add(metric.id)
            return
        if any(sign in str(partial[0]) for sign in _WINDOW):
            self._unserved.add(metric.id)
        else:
            self._fix(metric, partial)

    def _is_data_bound(self, metric: MetricConfiguration, dependencies: list[Any]) -> bool:
        """Whether a column can only be built from measured values, or may raise on data."""
        if any(self._cargo.keys.get(d.id) and d.metric_name != "table.row_count" for d in dependencies):
            return True
        if metric.metric_name in _ON_TEXT:
            return not isinstance(self._cargo.column_of(metric)[1], T.StringType)
        return metric.metric_name in _RAISING

    def _plan_derived(self, metric: MetricConfiguration, dependencies: list[Any]) -> None:
        """Metrics that GX computes from others in plain Python, or from the schema: no recipe needed."""
        try:
            found = self.engine.resolve_metrics([metric], self._dry)[metric.id]
        except MetricResolutionError as error:
            if isinstance(error.__cause__, NeedsData):
                self._unserved.add(metric.id)
                return
            found = None  # it stumbled over the values of an empty table: GX tries again with real ones
        if all(d.id in self._fixed for d in dependencies):
            self._fix(metric, found)
        else:
            self._serve(metric, None, found)

    def _serve(self, metric: MetricConfiguration, recipe: Recipe | None, dry: Any) -> None:
        self._recipes[metric.id] = recipe
        self._dry[metric.id] = dry

    def _fix(self, metric: MetricConfiguration, found: Any) -> None:
        self._fixed[metric.id] = found
        self._serve(metric, lambda _: found, found)
