"""Row rules as data, and the one function that turns verdicts into bits.

A rule is broken where its predicate is true. A predicate is built late (there may be no session yet) and is
never NULL: a value rule lets NULL pass, and that a value must be there is a rule of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pyspark.sql import Column
from pyspark.sql import functions as F

from pipelines.records import Stage

BITS = 60  # per bigint column: a multiple of ten, well below the sign bit
UNREADABLE = "#unreadable"


@dataclass(frozen=True)
class RowRule:
    """``name`` is what the quarantine shows; a ``critical`` rule sends the row there, others are counted.

    A rule that is not ``reported`` is only counted (a NULL in a column, say): no reason for anything.
    """

    name: str
    stage: Stage
    predicate: Callable[[], Column]
    critical: bool = True
    reported: bool = True


def column(name: str) -> Column:
    """The column of exactly this name, whatever dots, spaces or quotes it holds."""
    return F.col("`" + name.replace("`", "``") + "`")


def never_null(predicate: Column) -> Column:
    """A verdict that is false where the predicate is NULL."""
    return F.coalesce(predicate, F.lit(False))


def masks_needed(rules: Sequence[RowRule]) -> int:
    """How many mask columns these rules take."""
    return -(-len(rules) // BITS)


def mask_columns(rules: Sequence[RowRule]) -> list[Column]:
    """One bigint column for each 60 rules; bit *i* of column *j* is set where rule 60·j + i is broken."""
    slices = [rules[i : i + BITS] for i in range(0, len(rules), BITS)]
    return [_mask(part) for part in slices]


def critical_bits(rules: Sequence[RowRule]) -> list[int]:
    """For each mask column, the bits of its critical rules."""
    slices = [rules[i : i + BITS] for i in range(0, len(rules), BITS)]
    return [sum(1 << i for i, rule in enumerate(part) if rule.critical) for part in slices]


def broken(masks: Sequence[Column], rules: Sequence[RowRule]) -> Column:
    """Whether a row breaks any critical rule."""
    verdict = F.lit(False)
    for mask, bits in zip(masks, critical_bits(rules), strict=True):
        if bits:
            verdict = verdict | (mask.bitwiseAND(F.lit(bits)) != 0)
    return verdict


def broken_names(masks: Sequence[Column], rules: Sequence[RowRule]) -> Column:
    """The names of all reported rules a row breaks, warnings included, as array<string>."""
    named = [
        F.when(masks[i // BITS].bitwiseAND(F.lit(1 << (i % BITS))) != 0, F.lit(rule.name))
        for i, rule in enumerate(rules)
        if rule.reported
    ]
    return F.array_compact(F.array(*named)) if named else F.array().cast("array<string>")


def broken_any(rules: Sequence[RowRule]) -> Column:
    """Whether a row breaks one of these rules, asked of the row itself and not of its mask."""
    return functools.reduce(Column.__or__, (never_null(r.predicate()) for r in rules), F.lit(False))


def guarded(rules: Sequence[RowRule]) -> tuple[RowRule, ...]:
    """The same rules, and one more where some are about reading: it is only counted, once for every record
    that could not be read. :func:`guard` sets its bit."""
    if not any(r.stage == "read" for r in rules):
        return tuple(rules)
    return (RowRule(UNREADABLE, "read", lambda: F.lit(False), critical=False, reported=False), *rules)


def guard(masks: Sequence[Column], rules: Sequence[RowRule]) -> list[Column]:
    """The masks, in which a record that could not be read breaks no rule on values: it has none."""
    if not rules or rules[0].name != UNREADABLE:
        return list(masks)
    reading = [replace(r, critical=r.stage == "read") for r in rules]
    unreadable = broken(masks, reading)
    kept = [
        F.when(unreadable, m.bitwiseAND(F.lit(b))).otherwise(m)
        for m, b in zip(masks, critical_bits(reading), strict=True)
    ]
    return [kept[0].bitwiseOR(unreadable.cast("bigint")), *kept[1:]]


def _mask(rules: Sequence[RowRule]) -> Column:
    # cast and shift: far less bytecode than CASE WHEN, and long methods are never compiled
    bits = [F.shiftleft(never_null(rule.predicate()).cast("bigint"), i) for i, rule in enumerate(rules)]
    total = bits[0]
    for bit in bits[1:]:
        total = total.bitwiseOR(bit)
    return total
