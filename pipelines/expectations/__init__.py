"""Great Expectations without its passes.

A native GX suite is compiled once into *conditions* (one boolean column per rule, taken from GX's own metric
providers) and *aggregates*, which the one scoring job carries along and measures. Afterwards GX itself turns
the measured values into its ordinary validation results. What cannot be measured that way (uniqueness,
windows, quantiles, custom SQL) is left to GX's own computation and is listed in ``SuitePlan.extra``.

>>> suite = load_suite("conf/expectations/machine-failure.input.json", "input")
>>> plan = plan_suite(suite, frame.schema, spark)
>>> # the caller measures: rows, sum(condition) for each condition, each aggregate
>>> verdict = judge(plan, rows, counts, aggregates, frame)
"""

from pipelines.expectations.plan import Condition, SuitePlan, plan_suite
from pipelines.expectations.suites import Rule, Suite, import_engine, load_suite
from pipelines.expectations.verdict import SuiteVerdict, judge

__all__ = [
    "Condition", "Rule", "Suite", "SuitePlan", "SuiteVerdict", "import_engine", "judge", "load_suite", "plan_suite",
]  # fmt: skip
