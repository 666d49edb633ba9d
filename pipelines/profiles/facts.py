"""What is known of a table as a whole, beside its columns' values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class TableFacts:
    """Of one window or reference.

    ``rows``: all that were read; ``rows_quarantined`` of them were sent away, and ``quarantined`` says how many
    by which rule; one row may break several. ``types``: Spark's name of each column's type, as the source has it.
    """

    rows: int
    rows_quarantined: int = 0
    types: Mapping[str, str] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)

    def merge(self, other: TableFacts) -> TableFacts:
        """Those of both: sums, and the types of the later one (``other``) where both know a column."""
        rules = {**self.quarantined, **other.quarantined}
        tally = {r: self.quarantined.get(r, 0) + other.quarantined.get(r, 0) for r in rules}
        rows, away = self.rows + other.rows, self.rows_quarantined + other.rows_quarantined
        return TableFacts(rows, away, {**self.types, **other.types}, tally)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | None) -> TableFacts | None:
        """The inverse of :meth:`to_dict`; None for None."""
        return None if data is None else cls(**data)
