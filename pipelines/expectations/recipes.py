"""The columns that one pass carries along, and the recipes that turn their measured values into GX's metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from great_expectations.util import convert_to_json_serializable
from great_expectations.validator.metric_configuration import MetricConfiguration
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from pipelines.expectations.engine import Engine
from pipelines.expectations.measured import INTEGRAL, TRACKED, Recipe, countable, from_items
from pipelines.expectations.plan import Condition, short_key

# Conditions that are Python functions in GX.
_PYTHON = ("json_parseable", "match_strftime_format", "dateutil_parseable")
_NUMERIC = ("column.mean", "column.sum", "column.standard_deviation")
_AGGREGATES: Mapping[str, Callable[[Column], Column]] = {
    "column.max": F.max,
    "column.min": F.min,
    "column.mean": F.mean,
    "column.sum": F.sum,
    "column.standard_deviation": F.stddev_samp,
}


class Unservable(Exception):
    """Only a pass of GX's own can give this metric."""


class Cargo:
    """Conditions and aggregates, declared metric by metric and shared between rules.

    ``keys`` holds, by metric id, the keys of the conditions and aggregates that the metric's recipe uses;
    ``bare`` the conditions without their domains.
    """

    def __init__(self, engine: Engine, frame: DataFrame) -> None:
        self.engine = engine
        self.frame = frame
        self.conditions: dict[str, Condition] = {}
        self.bare: dict[str, Column] = {}
        self.aggregates: dict[str, Column] = {}
        self.keys: dict[Any, set[str]] = {}

    def recipe(self, metric: MetricConfiguration, fixed: Mapping[Any, Any]) -> Recipe | None:
        """How to get ``metric`` from what is measured; None if it is not about the data.

        Args:
            fixed: by metric id, the values known already; among them GX's condition columns.

        Raises:
            Unservable: no count and no aggregate gives it.
            TypeError: GX could compute it only for another type of column.
        """
        name = metric.metric_name
        if name == "table.row_count":
            key = self._domain_key(metric, metric.metric_domain_kwargs)
            return lambda measured: measured.count(key)
        if name.endswith(".unexpected_values"):
            return lambda _: []  # what GX collects under RESULT_FORMAT
        if name.endswith((".unexpected_count", ".filtered_row_count")):
            return self._counting(metric, fixed)
        if name in _AGGREGATES:
            return self._aggregate(metric)
        if name == "column.non_null_count":
            return self._non_null(metric)
        if name == "column.value_counts" or name.startswith("column.distinct_values"):
            return self._distinct(metric)
        return None

    def _counting(self, metric: MetricConfiguration, fixed: Mapping[Any, Any]) -> Recipe | None:
        aggregate = metric.metric_dependencies.get("metric_partial_fn")
        condition = (aggregate or metric).metric_dependencies.get("unexpected_condition")
        if condition is None:
            return None
        column, compute, accessor = fixed[condition.id]
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
        # Columns print 1 and '1' alike, so the wording is part of the key.
        wording = [str(kwargs.get(name)) for name in ("row_condition", "filter_conditions")]
        return self._keep(metric, f"domain-{short_key(domain, *wording)}", domain, None)

    def _condition(
        self, metric: MetricConfiguration, name: str, column: Column, domain: Column | None
    ) -> str:
        key = f"{name.removesuffix('.condition')}-{short_key(*metric.id)}"
        return self._keep(metric, key, column, domain)

    def _keep(self, metric: MetricConfiguration, key: str, column: Column, domain: Column | None) -> str:
        python = any(part in key for part in _PYTHON)
        inside = column if domain is None else F.when(domain, column)
        self.conditions[key] = Condition(key, F.coalesce(inside, F.lit(False)), python)
        if not python:  # a probe would start Python workers
            self.bare[key] = column
        self.keys.setdefault(metric.id, set()).add(key)
        return key

    def column_of(self, metric: MetricConfiguration) -> tuple[Column, T.DataType]:
        """The column of ``metric``, NULL outside of the metric's domain, and its type."""
        column = F.col(metric.metric_domain_kwargs["column"])
        domain = self.engine.domain(metric.metric_domain_kwargs)
        inside = column if domain is None else F.when(domain, column)
        return inside, self.frame.select(column).schema[0].dataType

    def _aggregate(self, metric: MetricConfiguration) -> Recipe:
        name = metric.metric_name
        column, data_type = self.column_of(metric)
        if name in _NUMERIC and not isinstance(data_type, T.NumericType):
            raise TypeError(f"needs a column of numbers, this one is {data_type.simpleString()}")
        if name == "column.sum" and isinstance(data_type, INTEGRAL):
            column = column.cast("double")  # as GX does, so that no sum of integers overflows
        key = f"{name}-{short_key(*metric.id)}"
        self.aggregates[key] = _AGGREGATES[name](column)
        self.keys[metric.id] = {key}
        return lambda measured: convert_to_json_serializable(measured.aggregate(key))

    def _non_null(self, metric: MetricConfiguration) -> Recipe:
        column = F.col(metric.metric_domain_kwargs["column"]).isNotNull()
        key = self._condition(
            metric, "column.non_null", column, self.engine.domain(metric.metric_domain_kwargs)
        )
        return lambda measured: measured.count(key)

    def _distinct(self, metric: MetricConfiguration) -> Recipe:
        """Few distinct values are counted exactly by a sketch."""
        column, data_type = self.column_of(metric)
        wanted = metric.metric_value_kwargs.get("value_set") or []
        finish = from_items(metric.metric_name, wanted)
        if finish is None or not countable(data_type, wanted):
            raise Unservable(metric.metric_name)
        key = f"distinct-{short_key(metric.metric_domain_kwargs_id)}"
        tracked = F.lit(TRACKED)
        self.aggregates[f"{key}_top"] = F.call_function("approx_top_k", column, tracked, tracked)
        self.aggregates[f"{key}_hll"] = F.approx_count_distinct(column)
        self.keys[metric.id] = {f"{key}_top", f"{key}_hll"}
        return lambda measured: finish(measured.items(key))
