"""Values of sensitive columns stand in the quarantine and nowhere else: here they are masked in all that is told.

The quarantine table itself keeps every value, so that a row can be repaired and scored again; who may read it is
up to the permissions of the sink. Profiles and drift (counts, means, bins) are figures of many rows, not values;
extremes and frequent items are left out of the tables, and stay in the ledger's state for later comparison.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from pipelines.errors import ModelFailed, ScorelineError
from pipelines.records import CheckOutcome, Distribution, DriftFinding, RunDetail, plain

MASK = "***"
RAW = "raw_record"
_KEPT = ("null", "other")  # labels of bins that are no values
_EXCEPTION = re.compile(r"(?:(?<=: )|^)([A-Za-z_][\w.]*): .*", re.DOTALL)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")


@dataclass(frozen=True)
class Masking:
    """Masks values of ``columns`` (names in any case); without columns nothing is changed."""

    columns: frozenset[str] = frozenset()

    @classmethod
    def of(cls, sensitive: Iterable[str], renamed: Mapping[str, str] | None = None) -> Masking:
        """Args: the source's columns, and under which names the model knows them (model input: source column)."""
        names = {name.casefold() for name in sensitive}
        inputs = {own.casefold() for own, source in (renamed or {}).items() if source.casefold() in names}
        return cls(frozenset(names | inputs))

    def hides(self, column: str) -> bool:
        """Whether a column's values are masked."""
        return column.casefold() in self.columns

    def mentions(self, text: Any) -> bool:
        """Whether a text, or plain data, speaks of a sensitive column."""
        said = json.dumps(plain(text), default=str, ensure_ascii=False).casefold()
        return any(json.dumps(name, ensure_ascii=False)[1:-1] in said for name in self.columns)

    def text(self, message: str) -> str:
        """A message that a library wrote: of an exception only its class stays, of all else nothing in quotes.

        What a library quotes cannot be known to be harmless, whatever the column.
        """
        if not self.columns:
            return message
        return _QUOTED.sub(f"'{MASK}'", _EXCEPTION.sub(rf"\1: {MASK}", message, count=1))

    def reason(self, reason: str, rules: Collection[str]) -> str:
        """A reason of the quarantine: a rule's name as it is, what the model said as :meth:`text`."""
        return reason if reason in rules else self.text(reason)

    def reasons(self, counts: Mapping[str, int], rules: Collection[str]) -> dict[str, int]:
        """Rows by reason, masked; reasons that then are the same are counted together."""
        together: Counter[str] = Counter()
        for reason, n in counts.items():
            together[self.reason(reason, rules)] += n
        return dict(sorted(together.items(), key=lambda item: (-item[1], item[0])))

    def error(self, error: ScorelineError) -> str:
        """The message of an error that may quote the data: the model's, and those nobody foresaw."""
        return self.text(error.message) if type(error) in (ModelFailed, ScorelineError) else error.message

    def example(self, example: Mapping[str, Any], rules: Collection[str]) -> dict[str, Any]:
        """A row of the quarantine as the page shows it; an unread record is masked as a whole."""
        row = example.get("row") or {}
        return {
            **example,
            "reasons": [self.reason(r, rules) for r in example.get("reasons") or ()],
            "row": {n: MASK if self._cell(n) and v is not None else v for n, v in row.items()},
        }

    def check(self, outcome: CheckOutcome) -> CheckOutcome:
        """An expectation's outcome: what it observed in a sensitive column, and what was raised over it."""
        if not self.mentions([outcome.column, outcome.kwargs, outcome.rule]):
            return outcome
        told: dict[str, Any] = {
            k: None if getattr(outcome, k) is None else MASK for k in ("observed_value", "exception")
        }
        return replace(outcome, **told)

    def distribution(self, plot: Distribution) -> Distribution:
        """A plot whose bins are numbered instead of named."""
        if not self.hides(plot.column):
            return plot
        labels = (n if n in _KEPT else f"bin {i}" for i, n in enumerate(plot.labels, 1))
        return replace(plot, labels=tuple(labels))

    def findings(self, findings: Iterable[DriftFinding]) -> tuple[DriftFinding, ...]:
        """Slices by a sensitive column are numbered instead of named."""
        numbers: dict[tuple[str, str | None], int] = {}
        return tuple(self._finding(f, numbers) for f in findings)

    def detail(self, detail: RunDetail, rules: Collection[str]) -> RunDetail:
        """All that the page of a run shows; ``rules`` are the names of its row rules."""
        if not self.columns:
            return detail
        return replace(
            detail,
            checks=tuple(map(self.check, detail.checks)),
            drift=self.findings(detail.drift),
            distributions=tuple(map(self.distribution, detail.distributions)),
            quarantine_examples=tuple(self.example(e, rules) for e in detail.quarantine_examples),
        )

    def profiles(self, table: pa.Table) -> pa.Table:
        """The table of profiles (see :mod:`pipelines.metric_tables`) without what stands for single rows of
        sensitive columns: their frequent items and their extremes."""
        if not self.columns:
            return table
        rows = [self._profile(row) if self.hides(row["column_name"]) else row for row in table.to_pylist()]
        return pa.Table.from_pylist(rows, schema=table.schema)

    def _profile(self, row: Mapping[str, Any]) -> dict[str, Any]:
        levels = row["quantiles"]
        return {
            **row,
            **dict.fromkeys(("frequent_items", "min", "max")),
            "quantiles": levels and [None, *levels[1:-1], None],
        }

    def _cell(self, name: str) -> bool:
        return self.hides(name) or (bool(self.columns) and name == RAW)

    def _finding(self, finding: DriftFinding, numbers: dict[tuple[str, str | None], int]) -> DriftFinding:
        key = finding.slice_key
        if key is None or not self.mentions(key):
            return finding
        number = numbers.setdefault((key, finding.slice_value), len(numbers) + 1)
        return replace(finding, slice_value=f"value {number}")


WITHOUT_VALUES = Masking(frozenset({RAW}))  # for a message of which only the class of an exception may stay
