"""From a suite and a schema to what one pass has to measure."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import Column, SparkSession
from pyspark.sql.types import StructType

from pipelines.errors import ConfigInvalid
from pipelines.expectations.measured import Recipe
from pipelines.expectations.suites import Kind, Rule, Suite, import_gx
from pipelines.records import plain

_KEPT = 4  # plans that a process remembers, for the dates of a backfill
_PLANS: dict[Any, SuitePlan] = {}


@dataclass(frozen=True)
class Condition:
    """One bit per row.

    ``column`` is boolean and never NULL, is evaluated only within its domain and is False outside of it.
    ``python`` says that GX implements it as a Python function, which costs the rows a trip to a worker.
    """

    key: str
    column: Column
    python: bool = False


@dataclass(frozen=True)
class Step:
    """One GX metric on the way to a result; ``recipe`` is None where GX derives it from earlier ones."""

    metric: Any
    recipe: Recipe | None


@dataclass(frozen=True)
class SuitePlan:
    """What to measure in the one pass, and what ``judge`` needs afterwards.

    ``conditions`` are counted over all rows, ``aggregates`` observed; ``critical`` maps the name of each
    row rule with severity critical to the key of the condition that is true for rows violating it.
    ``extra`` names the rules that need a pass of GX's own; a critical one among them has no row verdicts.
    """

    kind: Kind
    name: str
    conditions: tuple[Condition, ...]
    critical: Mapping[str, str]
    aggregates: Mapping[str, Column]
    extra: tuple[str, ...]
    suite: Suite
    steps: Mapping[str, tuple[Step, ...]]
    engine: Any


def plan_suite(suite: Suite, frame_schema: StructType, spark: SparkSession) -> SuitePlan:
    """Compile ``suite`` for frames of ``frame_schema``; the same one only once in a session. Reads no data.

    Raises:
        ConfigInvalid: columns that do not exist, row conditions or patterns that Spark refuses, bounds that
            do not fit the type of the column; all problems at once.
    """
    import_gx()
    rules = [[r.name, r.type, r.severity, plain(r.kwargs)] for r in suite.rules]
    text = json.dumps([suite.kind, suite.name, suite.path, rules], default=str, sort_keys=True)
    key = (text, frame_schema.json(), id(spark))
    if key not in _PLANS:
        if len(_PLANS) >= _KEPT:
            _PLANS.pop(next(iter(_PLANS)))
        _PLANS[key] = _planned(suite, frame_schema, spark)
    return replace(_PLANS[key], suite=suite)


def _planned(suite: Suite, frame_schema: StructType, spark: SparkSession) -> SuitePlan:
    from pipelines.expectations.planner import Planner

    problems = [p for rule in suite.rules for p in _missing_columns(rule, frame_schema)]
    _refuse(suite, problems)
    planner = Planner(suite.kind, frame_schema, spark)
    for rule in suite.rules:
        planner.add(rule)
    planner.probe()
    _refuse(suite, planner.problems)
    return SuitePlan(
        kind=suite.kind,
        name=suite.name,
        conditions=planner.conditions,
        critical=planner.critical,
        aggregates=planner.aggregates,
        extra=planner.extra,
        suite=suite,
        steps=dict(planner.steps),
        engine=planner.engine,
    )


def short_key(*parts: object) -> str:
    """A stable key: the same rule in the same suite has it in every run."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:12]


def _refuse(suite: Suite, problems: list[str]) -> None:
    if problems:
        raise ConfigInvalid(
            f"{len(problems)} problem(s) with the {suite.kind} suite {suite.name!r} ({suite.path}):\n  "
            + "\n  ".join(problems)
            + "\n",
            hint="Correct the suite, or the source whose columns it describes.",
        )


def _missing_columns(rule: Rule, schema: StructType) -> list[str]:
    # Expectations about the table's own columns judge presence themselves.
    if rule.type == "expect_column_to_exist" or rule.type.startswith("expect_table_"):
        return []
    known = set(_paths(schema))
    missing = [c for c in rule.columns if c.replace("`", "").casefold() not in {k.casefold() for k in known}]
    return [f"{rule.name}: no column {c!r}{_guess(c, known)}" for c in missing]


def _guess(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 3)
    return f"; did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(sorted(known)[:20])}"


def _paths(schema: StructType, prefix: str = "") -> list[str]:
    """All column paths, fields of structs included, as in ``address.city``."""
    paths: list[str] = []
    for column in schema.fields:
        paths.append(prefix + column.name)
        if isinstance(column.dataType, StructType):
            paths += _paths(column.dataType, f"{prefix}{column.name}.")
    return paths
