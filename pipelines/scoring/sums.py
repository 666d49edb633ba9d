"""What several units have counted, added up: a group of them here or in a worker, all groups on the driver.

Groups are cut from the list of all units, so that the sums are rounded alike whoever adds them up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.scoring.states import WorkerState, merge_states
from pipelines.scoring.units import account_of
from pipelines.scoring.work import ScanTask
from pipelines.vectorized.aggregates import Totals

GROUP = 128  # units; adding one costs 5 to 10 ms, so that a group takes about a second


@dataclass
class Sum:
    """``after`` counts the rules on outputs, ``totals`` are the aggregates of both suites; ``lines`` and ``spans`` (by
    path, where texts were read from and to) are of CSV."""

    state: WorkerState
    after: list[int]
    totals: list[Totals]
    lines: int = 0
    spans: dict[str, list[list[int]]] = field(default_factory=dict)


def groups(units: Sequence[str]) -> list[Sequence[str]]:
    """The units, in their order, in groups."""
    return [units[start : start + GROUP] for start in range(0, len(units), GROUP)]


def of_units(task: ScanTask, units: Sequence[str]) -> dict[str, Any]:
    """The account of several units, in the form of one's; they are read one after the other."""
    total = added(task, (account_of(Path(task.folder), unit) for unit in units))
    return {
        "state": total.state.to_bytes().decode(),
        "after": total.after,
        "totals": [t.states for t in total.totals],
        "lines": total.lines,
        "spans": total.spans,
    }


def added(task: ScanTask, accounts: Iterator[dict[str, Any]]) -> Sum:
    """One sum of accounts, of units or of groups."""
    rules = (task.before, task.after)
    total = Sum(WorkerState(), [0] * len(task.after.names), [Totals.empty(r.aggregates) for r in rules])

    def states() -> Iterator[WorkerState]:
        for account in accounts:
            total.after = [a + b for a, b in zip(total.after, account["after"], strict=True)]
            for mine, theirs in zip(total.totals, account["totals"], strict=True):
                mine.merge(theirs)
            total.lines += account.get("lines", 0)
            for path, span in account.get("spans", {}).items():
                # of a unit one span, of a group a list of them
                total.spans.setdefault(path, []).extend(span if isinstance(span[0], list) else [span])
            yield WorkerState.from_bytes(account["state"].encode())

    total.state = merge_states(states())
    return total


def in_worker(task: ScanTask, groups: Iterable[bytes]) -> Iterator[str]:
    """Groups of units, each a JSON list, as their accounts."""
    for units in groups:
        yield json.dumps(of_units(task, json.loads(units)))
