"""The profile of a table: its columns' states, and how they are stored."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pipelines.errors import ConfigInvalid
from pipelines.profiles.batches import Batch
from pipelines.profiles.facts import TableFacts
from pipelines.profiles.slices import Slices
from pipelines.profiles.specs import ColumnSpec
from pipelines.profiles.states import ColumnState

FORMAT = "scoreline-profile"
FORMAT_VERSION = 1


@dataclass
class TableProfile:
    """Column states in the order of the table, those of its slices, and what is known of it as a whole."""

    columns: dict[str, ColumnState]
    slices: Slices = field(default_factory=Slices)
    facts: TableFacts | None = None

    @classmethod
    def empty(cls, specs: Iterable[ColumnSpec]) -> TableProfile:
        """A profile of no rows."""
        return cls({spec.name: ColumnState.empty(spec) for spec in specs})

    @property
    def specs(self) -> tuple[ColumnSpec, ...]:
        """What each column counts."""
        return tuple(state.spec for state in self.columns.values())

    @property
    def rows(self) -> int:
        """Rows seen: the largest count of a column."""
        return max((state.count for state in self.columns.values()), default=0)

    def update(self, batch: Mapping[str, Batch], by: Mapping[str, Batch] | None = None) -> None:
        """Count one batch in place.

        Columns without a state are passed over, so features and predictions may come in two calls.

        Args:
            batch: the columns.
            by: the value of each slicing expression for each row of these columns.
        """
        for name in self.columns.keys() & batch.keys():
            self.columns[name].update(batch[name])
        if by:
            self.slices.update({name: state.spec for name, state in self.columns.items()}, batch, by)

    def merge(self, other: TableProfile) -> TableProfile:
        """The profile of both sets of rows; a column known to one of them only is kept as it is."""
        shared = self.columns.keys() & other.columns.keys()
        both = {name: self.columns[name].merge(other.columns[name]) for name in shared}
        columns = {name: both.get(name, s) for name, s in (self.columns | other.columns).items()}
        facts = self.facts.merge(other.facts) if self.facts and other.facts else self.facts or other.facts
        return TableProfile(columns, self.slices.merge(other.slices), facts)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        columns = [{"spec": _plain(state.spec), "state": state.to_dict()} for state in self.columns.values()]
        data: dict[str, Any] = {"format": FORMAT, "format_version": FORMAT_VERSION, "columns": columns}
        if self.slices:
            data |= {"slices": self.slices.to_list(), "given_up": sorted(self.slices.given_up)}
        return data | ({"facts": self.facts.to_dict()} if self.facts else {})

    def to_bytes(self) -> bytes:
        """Compact bytes: deflated JSON. Half of it are hashes, of which a higher level makes no less."""
        return zlib.compress(json.dumps(self.to_dict(), separators=(",", ":")).encode(), 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> TableProfile:
        """The inverse of :meth:`to_bytes`; raises ConfigInvalid like :func:`load_baseline`."""
        try:
            return load_baseline(json.loads(zlib.decompress(data)))
        except (zlib.error, ValueError) as error:
            raise ConfigInvalid(
                f"These bytes are no column profile: {error}.", hint="Write them with TableProfile.to_bytes."
            ) from error


def _plain(spec: ColumnSpec) -> dict[str, Any]:
    """Its fields as they are: ``asdict`` copies every edge, which takes longer than all the rest."""
    return {f.name: getattr(spec, f.name) for f in fields(spec)}


def load_baseline(data: Mapping[str, Any]) -> TableProfile:
    """The profile in a baseline (or in :meth:`TableProfile.to_dict`).

    Raises:
        ConfigInvalid: another format or version, or damaged.
    """
    found = (
        (data.get("format"), data.get("format_version")) if isinstance(data, Mapping) else type(data).__name__
    )
    if found != (FORMAT, FORMAT_VERSION):
        raise ConfigInvalid(
            f"This is no column profile: found {found}, expected {(FORMAT, FORMAT_VERSION)}.",
            hint="Make the baseline with baseline_from_pandas of this version.",
        )
    try:
        states = [
            ColumnState.from_dict(_spec_from(column["spec"]), column["state"]) for column in data["columns"]
        ]
        columns = {state.spec.name: state for state in states}
        slices = Slices.from_data(data, {name: state.spec for name, state in columns.items()})
        return TableProfile(columns, slices, TableFacts.from_dict(data.get("facts")))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigInvalid(
            f"The column profile is damaged: {error!r}.", hint="Register the baseline again."
        ) from error


def _spec_from(data: Mapping[str, Any]) -> ColumnSpec:
    lists = {key: None if data[key] is None else tuple(data[key]) for key in ("edges", "categories")}
    return ColumnSpec(**{**data, **lists})
