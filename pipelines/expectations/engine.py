"""The seam into GX: an execution engine that answers from known values and never reads data by itself.

This module imports great_expectations at the top, so it is itself imported only where a suite is at hand.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from great_expectations.execution_engine.sparkdf_batch_data import SparkDFBatchData
from great_expectations.execution_engine.sparkdf_execution_engine import SparkDFExecutionEngine
from great_expectations.validator.metric_configuration import MetricConfiguration
from great_expectations.validator.validation_graph import ValidationGraph
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines.expectations.suites import Rule

# Counts without collecting a single value: the format in which stock GX collects nothing either.
RESULT_FORMAT: Mapping[str, Any] = {"result_format": "BASIC", "partial_unexpected_count": 0}
# Metrics whose value is a column over the frame, not something about the data.
PARTIAL = (".condition", ".map", ".aggregate_fn")


class NeedsData(Exception):
    """A metric wanted to read the data while only their schema was there."""


class SchemaFrame:
    """A frame without data: it knows its schema and remembers filters; everything else is refused."""

    def __init__(self, frame: DataFrame, filters: tuple[Column | str, ...] = ()) -> None:
        self._frame = frame
        self.filters = filters
        self.schema, self.columns, self.dtypes = frame.schema, frame.columns, frame.dtypes

    def filter(self, condition: Column | str) -> SchemaFrame:
        return SchemaFrame(self._frame, (*self.filters, condition))

    def where(self, condition: Column | str) -> SchemaFrame:
        return self.filter(condition)

    def __getitem__(self, item: Any) -> Any:
        return self._frame[item]

    def __getattr__(self, name: str) -> Any:
        raise NeedsData(f"{name} needs the data, not only the schema")


class Engine(SparkDFExecutionEngine):
    """GX's Spark engine over ``batch_id``, which answers from ``known`` before it computes.

    ``known`` maps GX metric ids to values. Over a :class:`SchemaFrame` metrics that would read data raise.
    """

    def __init__(self, spark: SparkSession, batch_id: str, frame: DataFrame | SchemaFrame) -> None:
        super().__init__(spark=spark, persist=False)
        self.known: dict[Any, Any] = {}
        self.load_batch_data(batch_id, SparkDFBatchData(self, frame))

    def resolve_metrics(
        self,
        metrics_to_resolve: Iterable[Any],
        metrics: dict[Any, Any] | None = None,
        runtime_configuration: dict[str, Any] | None = None,
    ) -> dict[Any, Any]:
        """Known values first; GX computes what remains."""
        wanted = list(metrics_to_resolve)
        unknown = [m for m in wanted if m.id not in self.known]
        found = {m.id: self.known[m.id] for m in wanted if m.id in self.known}
        if unknown:
            found |= super().resolve_metrics(unknown, {**(metrics or {}), **found}, runtime_configuration)
        return found

    def domain(self, kwargs: Mapping[str, Any]) -> Column | None:
        """The rows that GX would keep for ``kwargs`` as a boolean column, or None for all rows."""
        records: Any = self.get_domain_records(dict(kwargs))
        columns = [F.expr(f) if isinstance(f, str) else f for f in records.filters]
        return functools.reduce(operator.and_, columns) if columns else None


def schema_engine(spark: SparkSession, batch_id: str, frame: DataFrame) -> Engine:
    """An engine over the schema of ``frame`` alone."""
    return Engine(spark, batch_id, SchemaFrame(frame))


def bound(rule: Rule, batch_id: str) -> Any:
    """The expectation of ``rule`` for one batch, as GX's validator prepares it."""
    return rule.expectation.copy(update={"batch_id": batch_id})


def wanted_metrics(rule: Rule, engine: Engine, batch_id: str) -> list[MetricConfiguration]:
    """The metrics that GX asks for to judge ``rule``."""
    runtime = {"result_format": dict(RESULT_FORMAT)}
    dependencies = bound(rule, batch_id).get_validation_dependencies(engine, runtime)
    metrics: list[MetricConfiguration] = dependencies.get_metric_configurations()
    return metrics


def metric_order(rule: Rule, engine: Engine, batch_id: str) -> list[MetricConfiguration]:
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
