"""From Spark's analyzed expressions to programs.

The analyzer has resolved names and written every implicit cast down; ``TreeNode.toJSON`` gives its trees as
lists of nodes in preorder. Needs a session with a JVM behind it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from pyspark.sql import Column, DataFrame

from pipelines.vectorized.aggregates import Aggregate
from pipelines.vectorized.program import NUMPY, Program, Step

_KNOWN = {*NUMPY, "string"}
_PLAIN = {
    "And": "and", "Or": "or", "Not": "not", "IsNull": "isnull", "IsNotNull": "isnotnull", "IsNaN": "isnan",
    "EqualTo": "eq", "EqualNullSafe": "eqn", "LessThan": "lt", "LessThanOrEqual": "le", "Coalesce": "coalesce",
}  # fmt: skip
_MIRRORED = {"GreaterThan": "lt", "GreaterThanOrEqual": "le"}
_ON_DOUBLES = {"Add": "add", "Subtract": "sub", "Multiply": "mul", "Abs": "abs", "UnaryMinus": "neg"}
_WIDENS = ("byte", "short", "integer", "long", "float", "double")
_FUNCTIONS = {
    "Max": "max", "Min": "min", "Sum": "sum", "Average": "mean", "StddevSamp": "std", "ApproxTopK": "top",
    "HyperLogLogPlusPlus": "distinct",
}  # fmt: skip
_UTC = ("UTC", "Etc/UTC", "GMT", "Z", "+00:00")


class NotExpressible(Exception):
    """An expression that has no exact counterpart here; the message names it."""


@dataclass(frozen=True)
class Compiled:
    """``program`` has one root per expression that could be compiled; ``places`` maps each expression to its root
    or to None; ``problems`` says of the others why not."""

    program: Program
    places: tuple[int | None, ...]
    problems: tuple[str, ...]


def compile_columns(frame: DataFrame, columns: Sequence[Column]) -> Compiled:
    """Compile columns over ``frame``; nothing is run."""
    return _compiled(frame, [tree[1:] for tree in _trees(frame, columns, "projectList")])


def compile_aggregates(
    frame: DataFrame, columns: Sequence[Column]
) -> tuple[Compiled, tuple[Aggregate | None, ...]]:
    """Compile aggregates over ``frame``: a program for what they aggregate, and how."""
    inner, found, problems = [], [], []
    for tree in _trees(frame, columns, "aggregateExpressions"):
        function = tree[2] if _name(tree[1]) == "AggregateExpression" else tree[1]
        plain = _name(function) in _FUNCTIONS and not tree[1].get("isDistinct")
        inner.append(tree[3:])
        found.append(_FUNCTIONS[_name(function)] if plain else None)
        problems += [] if plain else [f"aggregate {_name(function)}"]
    compiled = _compiled(frame, inner)
    steps, roots = compiled.program.steps, compiled.program.roots
    kept: list[int] = []
    places: list[int | None] = []
    result: list[Aggregate | None] = []
    for kind, place in zip(found, compiled.places, strict=True):
        data_type = None if place is None else steps[roots[place]].type
        fits = kind is not None and data_type is not None and Aggregate.takes(kind, data_type)
        result.append(Aggregate(str(kind), str(data_type)) if fits else None)
        places.append(len(kept) if fits else None)
        if fits and place is not None:
            kept.append(roots[place])
        elif kind is not None and data_type is not None:
            problems.append(f"{kind} of {data_type}")
    program = Program(steps, tuple(kept)).pruned()
    return Compiled(program, tuple(places), (*compiled.problems, *problems)), tuple(result)


def _trees(frame: DataFrame, columns: Sequence[Column], field: str) -> list[list[dict[str, Any]]]:
    if not columns:
        return []
    named = [c.alias(f"c{i}") for i, c in enumerate(columns)]
    plan: Any = frame.select(*named)
    return json.loads(plan._jdf.queryExecution().analyzed().toJSON())[0].get(field) or [[{}, {}]] * len(
        columns
    )


def _name(node: dict[str, Any]) -> str:
    return str(node.get("class", "unknown")).rpartition(".")[2]


def _compiled(frame: DataFrame, trees: Sequence[list[dict[str, Any]]]) -> Compiled:
    builder = _Builder({n.casefold(): n for n in frame.columns})
    places: list[int | None] = []
    roots: list[int] = []
    problems = []
    for tree in trees:
        try:
            root = builder.build(tree)
        except (NotExpressible, ValueError, OverflowError) as error:  # dates that Python has no word for
            problems.append(str(error))
            places.append(None)
        else:
            places.append(len(roots))
            roots.append(root)
    # an expression that failed half way leaves steps behind
    program = Program(tuple(builder.steps), tuple(roots)).pruned()
    return Compiled(program, tuple(places), tuple(dict.fromkeys(problems)))


class _Builder:
    """Steps with each distinct operation once."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names  # by their folded form: a query may write them in another case
        self.steps: list[Step] = []
        self._places: dict[Any, int] = {}
        self._guards = 0  # branches of CASE around the node that is being read

    def build(self, tree: list[dict[str, Any]]) -> int:
        place, _ = self._node(tree, 0)
        return place

    def _add(self, op: str, kind: str, args: tuple[int, ...] = (), value: Any = None) -> int:
        key = (op, kind, args, repr(value))
        if key not in self._places:
            self._places[key] = len(self.steps)
            self.steps.append(Step(op, kind, args, value))
        return self._places[key]

    def _node(self, tree: list[dict[str, Any]], at: int) -> tuple[int, int]:
        """The place of the node at ``at``, and where the next sibling begins."""
        node = tree[at]
        name = _name(node)
        if name == "AttributeReference":
            name = self._names.get(node["name"].casefold(), node["name"])
            return self._add("column", str(node["dataType"]), (), name), at + 1
        if name == "Literal":
            return self._literal(node), at + 1
        self._guards += name == "CaseWhen"
        args, following = [], at + 1
        for _ in range(node.get("num-children", 0)):
            place, following = self._node(tree, following)
            args.append(place)
        self._guards -= name == "CaseWhen"
        if name == "Cast" and self.steps[args[0]].type == str(node["dataType"]):
            return args[0], following
        return self._operation(name, node, args), following

    def _operation(self, name: str, node: dict[str, Any], args: list[int]) -> int:
        kinds = [self.steps[a].type for a in args]
        if name in ("IsNull", "IsNotNull"):
            return self._add(_PLAIN[name], "boolean", tuple(args))
        if args and name in ("UnaryMinus", "Cast") and (literal := self._constant(args[0])):
            return self._folded(name, node, args[0], literal)
        if unknown := [k for k in kinds if k not in _KNOWN]:
            raise NotExpressible(f"{name} of {unknown[0]}")
        if name in _PLAIN or name in _MIRRORED:
            return self._plain(name, args, kinds)
        if name == "Cast":
            return self._cast(args[0], str(node["dataType"]), node)
        if name == "In":
            return self._in(args)
        if name == "CaseWhen":
            return self._case(args, kinds)
        if name == "Length" and kinds == ["string"]:
            return self._add("length", "integer", tuple(args))
        if name in _ON_DOUBLES and set(kinds) == {"double"}:
            return self._add(_ON_DOUBLES[name], "double", tuple(args))
        raise NotExpressible(name)

    def _folded(self, name: str, node: dict[str, Any], place: int, literal: Step) -> int:
        """A literal with its sign or type changed."""
        if name == "Cast":
            return self._cast(place, str(node["dataType"]), node)
        if literal.type not in _WIDENS and not isinstance(literal.value, Decimal):
            raise NotExpressible(f"minus {literal.type}")
        return self._add("literal", literal.type, (), None if literal.value is None else -literal.value)

    def _plain(self, name: str, args: list[int], kinds: list[str]) -> int:
        if len(set(kinds)) > 1:
            raise NotExpressible(f"{name} of {' and '.join(kinds)}")
        if name in _MIRRORED:
            return self._add(_MIRRORED[name], "boolean", tuple(reversed(args)))
        return self._add(_PLAIN[name], kinds[0] if name == "Coalesce" else "boolean", tuple(args))

    def _case(self, args: list[int], kinds: list[str]) -> int:
        kind = kinds[1]
        if len(args) % 2 == 0:
            args = [*args, self._add("literal", kind)]
        if any(self.steps[a].type != kind for a in (*args[1:-1:2], args[-1])):
            raise NotExpressible("CASE of several types")
        return self._add("case", kind, tuple(args))

    def _in(self, args: list[int]) -> int:
        literals = [self._constant(a) for a in args[1:]]
        kind = self.steps[args[0]].type
        if any(step is None or step.type != kind for step in literals):
            raise NotExpressible("IN of what is no literal of the same type")
        values = [step.value for step in literals if step is not None]
        wanted = tuple(v for v in values if v is not None)
        return self._add("in", "boolean", (args[0],), (wanted, len(wanted) < len(values)))

    def _constant(self, place: int) -> Step | None:
        return self.steps[place] if self.steps[place].op == "literal" else None

    def _literal(self, node: dict[str, Any]) -> int:
        kind, text = str(node["dataType"]), node["value"]
        if kind == "void":
            return self._add("literal", "void")
        if (
            kind.startswith("decimal") and text is not None
        ):  # how SQL reads 1.5; a double beside it makes it one
            return self._add("literal", kind, (), Decimal(text))
        if kind not in _KNOWN:
            raise NotExpressible(f"a literal of type {kind}")
        return self._add("literal", kind, (), None if text is None else _parsed(kind, text))

    def _cast(self, place: int, wanted: str, node: dict[str, Any]) -> int:
        step = self.steps[place]
        if step.type == wanted:
            return place
        if step.op == "literal" and wanted in _KNOWN:
            return self._add("literal", wanted, (), _recast(step, wanted))
        utc = node.get("timeZoneId") in _UTC
        widens = (
            step.type in _WIDENS and wanted in _WIDENS and _WIDENS.index(step.type) < _WIDENS.index(wanted)
        )
        days = step.type == "date" and (wanted == "timestamp_ntz" or (wanted == "timestamp" and utc))
        same = {step.type, wanted} == {"timestamp", "timestamp_ntz"} and utc
        back = (step.type, wanted) == (
            "double",
            "long",
        ) and self._guards  # outside of a guard Spark may raise
        if not (widens or days or same or back):
            raise NotExpressible(f"CAST of {step.type} to {wanted}")
        return self._add("cast", wanted, (place,))


def _parsed(kind: str, text: str) -> Any:
    """A literal's value from the text that Spark prints for it."""
    if kind == "string":
        return text
    if kind == "boolean":
        return text == "true"
    if kind in ("float", "double"):
        return float(text)
    if kind == "date":
        return (date.fromisoformat(text) - date(1970, 1, 1)).days
    if kind.startswith("timestamp"):
        return _micros(text)
    return int(text)


def _recast(step: Step, wanted: str) -> Any:
    if step.value is None:
        return None
    if wanted in ("float", "double") and (step.type in _WIDENS or isinstance(step.value, Decimal)):
        return float(NUMPY[wanted](step.value))
    if (
        step.type in _WIDENS[:4]
        and wanted in _WIDENS[:4]
        and _WIDENS.index(step.type) < _WIDENS.index(wanted)
    ):
        return step.value
    if step.type == "string" and wanted == "date" and re.fullmatch(r"\d{4}-\d\d-\d\d", step.value):
        return _parsed("date", step.value)
    if step.type == "string" and wanted.startswith("timestamp"):
        return _micros(step.value)
    raise NotExpressible(f"CAST of a literal {step.type} to {wanted}")


def _micros(text: str) -> int:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d{1,6})?)?", text):
        raise NotExpressible(f"a time written as {text!r}")
    since = datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
