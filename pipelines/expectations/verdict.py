"""From measured values to GX's own results."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame

from pipelines.errors import InvariantBroken
from pipelines.expectations.measured import Measured, Unmeasured
from pipelines.expectations.plan import Step, SuitePlan
from pipelines.expectations.suites import Rule, import_gx
from pipelines.records import CheckOutcome, plain


@dataclass(frozen=True)
class SuiteVerdict:
    """A judged suite.

    ``result`` is a genuine ``ExpectationSuiteValidationResult`` (``to_json_dict``, ``describe``, Data Docs)
    with its results in the order of the suite; ``extra_passes`` names the rules for which GX read data again.
    """

    outcomes: tuple[CheckOutcome, ...]
    result: Any
    success: bool
    extra_passes: tuple[str, ...]


def judge(
    plan: SuitePlan,
    rows: int,
    counts: Mapping[str, int],
    aggregates: Mapping[str, Any],
    frame: DataFrame | Callable[[], DataFrame] | None = None,
) -> SuiteVerdict:
    """Let GX judge ``plan.suite`` on what was measured over ``rows`` rows.

    Args:
        counts: for each of ``plan.conditions``, the number of rows for which it is true.
        aggregates: the value of each of ``plan.aggregates``, as Spark returns it.
        frame: the rows that were measured, or what makes them; asked for and read only for rules that the pass could
            not serve, and only their columns. Without it those rules end in an exception, as they would in GX.

    Raises:
        InvariantBroken: a count is absent or larger than ``rows``, or an aggregate is absent.
    """
    import_gx()
    _reconcile(plan, rows, counts, aggregates)
    judgement = _Judgement(plan, Measured(rows, counts, aggregates))
    served = (rule for rule in plan.suite.rules if rule.name not in plan.extra)
    results = {rule.name: judgement.free(rule) for rule in served}
    extra = tuple(rule for rule in plan.suite.rules if results.get(rule.name) is None)
    if extra:
        results |= judgement.with_data(extra, frame() if callable(frame) else frame)
    return _verdict(plan, results, extra)


def _reconcile(plan: SuitePlan, rows: int, counts: Mapping[str, int], aggregates: Mapping[str, Any]) -> None:
    absent = [c.key for c in plan.conditions if c.key not in counts]
    absent += [key for key in plan.aggregates if key not in aggregates]
    wrong = [f"{key}={n}" for key, n in counts.items() if not 0 <= n <= rows]
    if absent or wrong:
        raise InvariantBroken(
            f"The {plan.kind} suite {plan.name!r} cannot be judged on {rows} rows: "
            f"not measured: {', '.join(absent) or 'none'}; impossible counts: {', '.join(wrong) or 'none'}.",
            hint="This is a fault of the pipeline; nothing was published.",
        )


class _Judgement:
    """GX over one set of measured values."""

    def __init__(self, plan: SuitePlan, measured: Measured) -> None:
        from pipelines.expectations import engine

        self._gx = engine
        self._plan = plan
        self._measured = measured
        self._batch_id = f"scoreline-{plan.kind}"
        self._values: dict[Any, Any] = {}

    def free(self, rule: Rule) -> Any | None:
        """The result of ``rule`` from measured values alone, or None where these do not suffice."""
        from great_expectations.exceptions.exceptions import MetricResolutionError

        try:
            for step in self._plan.steps[rule.name]:
                if step.metric.id not in self._values:
                    self._values[step.metric.id] = self._step_value(step)
        except Unmeasured:
            return None
        except MetricResolutionError as error:
            return None if isinstance(error.__cause__, self._gx.NeedsData) else self._failed(rule, error)
        return self._validated(rule, self._values, self._plan.engine)

    def _step_value(self, step: Step) -> Any:
        if step.recipe is not None:
            return step.recipe(self._measured)
        return self._plan.engine.resolve_metrics([step.metric], self._values)[step.metric.id]

    def with_data(self, rules: Sequence[Rule], frame: DataFrame | None) -> dict[str, Any]:
        """Results that need the data: GX computes them together, over the columns they name."""
        from great_expectations.validator.validation_graph import ValidationGraph

        if frame is None:
            missing = RuntimeError("this needs a pass over the data, and there was no frame to read")
            return {rule.name: self._failed(rule, missing) for rule in rules}
        engine = self._data_engine(rules, frame)
        graph = ValidationGraph(execution_engine=engine)
        broken: dict[str, Exception] = {}
        for rule in rules:
            try:
                for metric in self._gx.wanted_metrics(rule, engine, self._batch_id):
                    graph.build_metric_dependency_graph(metric)
            except Exception as error:  # GX reports what an expectation raises as its result
                broken[rule.name] = error
        values, aborted = graph.resolve(
            runtime_configuration={"result_format": dict(self._gx.RESULT_FORMAT)}, show_progress_bars=False
        )
        return {
            rule.name: self._failed(rule, broken[rule.name])
            if rule.name in broken
            else self._aborted(rule, engine, aborted) or self._validated(rule, values, engine)
            for rule in rules
        }

    def _data_engine(self, rules: Sequence[Rule], frame: DataFrame) -> Any:
        engine = self._gx.Engine(self._plan.engine.spark, self._batch_id, _narrow(frame, rules))
        for step in (step for rule in rules for step in self._plan.steps[rule.name]):
            # Conditions are columns of the schema frame: GX builds its own over the data.
            if step.recipe is not None and not step.metric.metric_name.endswith(self._gx.PARTIAL):
                try:
                    engine.known[step.metric.id] = step.recipe(self._measured)
                except Unmeasured:
                    continue
        return engine

    def _aborted(self, rule: Rule, engine: Any, aborted: Mapping[Any, Any]) -> Any | None:
        """GX's result for an expectation whose metrics could not be computed."""
        order = self._gx.metric_order(rule, engine, self._batch_id) if aborted else []
        info = {str(m.id): aborted[m.id]["exception_info"] for m in order if m.id in aborted}
        return self._raised(rule, info) if info else None

    def _validated(self, rule: Rule, values: Mapping[Any, Any], engine: Any) -> Any:
        try:
            return self._gx.bound(rule, self._batch_id).metrics_validate(
                metrics=dict(values),
                runtime_configuration={"result_format": dict(self._gx.RESULT_FORMAT)},
                execution_engine=engine,
            )
        except Exception as error:  # GX reports what an expectation raises as its result
            return self._failed(rule, error)

    def _failed(self, rule: Rule, error: Exception) -> Any:
        from great_expectations.validator.exception_info import ExceptionInfo

        trace = "".join(traceback.format_exception(error))
        return self._raised(rule, ExceptionInfo(exception_traceback=trace, exception_message=str(error)))

    def _raised(self, rule: Rule, info: Any) -> Any:
        from great_expectations.core import ExpectationValidationResult

        config = self._gx.bound(rule, self._batch_id).configuration
        return ExpectationValidationResult(success=False, exception_info=info, expectation_config=config)


def _narrow(frame: DataFrame, rules: Sequence[Rule]) -> DataFrame:
    """Only the columns that the rules name, anywhere: in their arguments, conditions or queries."""
    wording = json.dumps([plain(rule.kwargs) for rule in rules], default=str).casefold()
    named = [name for name in frame.columns if json.dumps(name)[1:-1].casefold() in wording]
    return frame.select(*(f"`{name.replace('`', '``')}`" for name in named or frame.columns[:1]))


def _verdict(plan: SuitePlan, results: Mapping[str, Any], extra: Sequence[Rule]) -> SuiteVerdict:
    from great_expectations import __version__
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.validator.validation_statistics import calc_validation_statistics

    ordered = [results[rule.name] for rule in plan.suite.rules]
    statistics = calc_validation_statistics(ordered)
    names = {rule.name for rule in extra}
    outcomes = tuple(
        _outcome(plan, rule, results[rule.name], rule.name in names) for rule in plan.suite.rules
    )
    result = ExpectationSuiteValidationResult(
        success=statistics.success,
        results=ordered,
        suite_name=plan.name,
        statistics={
            "evaluated_expectations": statistics.evaluated_expectations,
            "successful_expectations": statistics.successful_expectations,
            "unsuccessful_expectations": statistics.unsuccessful_expectations,
            "success_percent": statistics.success_percent,
        },
        meta={
            "great_expectations_version": __version__,
            "active_batch_definition": {"datasource_name": "scoreline", "data_asset_name": plan.kind},
            "batch_markers": {},
            "batch_spec": {},
        },
        batch_id=f"scoreline-{plan.kind}",
    )
    return SuiteVerdict(outcomes, result, bool(statistics.success), tuple(rule.name for rule in extra))


def _outcome(plan: SuitePlan, rule: Rule, result: Any, extra: bool) -> CheckOutcome:
    found = result.result or {}
    percent = found.get("unexpected_percent")
    return CheckOutcome(
        suite=plan.kind,
        rule=rule.name,
        expectation_type=rule.type,
        severity=rule.severity,
        success=bool(result.success),
        column=rule.columns[0] if len(rule.columns) == 1 else None,
        kwargs=plain(rule.kwargs),
        element_count=found.get("element_count"),
        unexpected_count=found.get("unexpected_count"),
        unexpected_percent=None if percent is None else float(percent),
        missing_count=found.get("missing_count"),
        observed_value=plain(found.get("observed_value")),
        extra_pass=extra,
        exception=_message(result.exception_info),
    )


def _message(info: Any) -> str | None:
    """The first exception message in GX's exception info, which has one or several."""
    if not info:
        return None
    if "exception_message" in info:
        return str(info["exception_message"]) if info["exception_message"] else None
    return next((m for m in map(_message, info.values()) if m), None)
