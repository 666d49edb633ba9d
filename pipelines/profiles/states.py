"""The state of one column: counts and summaries that grow batch by batch and merge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import ConfigInvalid
from pipelines.profiles import sketches
from pipelines.profiles.batches import Batch, numbers, texts_of
from pipelines.profiles.sketches import Hashes, Ladder
from pipelines.profiles.specs import INTEGERS, ColumnSpec, Floats, Ints

TRACKED = {True: 256, False: 1024}  # most further values counted by name, by "has a baseline"
LONGEST_NAME = 200  # characters; a longer text is counted, never named
_SUMMED = (
    "count", "nulls", "nans", "zeros", "negative_infinities", "positive_infinities", "off_edge",
    "undercount", "sum_length"
)  # fmt: skip
_SCALARS = ("minimum", "maximum", "mean", "m2", "shift", "min_length", "max_length")
_LIMITS = np.array([-np.inf, 0.0, np.finfo(np.float64).max, np.inf])


@dataclass
class ColumnState:
    """Counts and sketches of one column; all but mean and m2 are exact under merge (see the package).

    ``count`` is all values. ``mean``, ``m2`` (sum of squared deviations), ``minimum`` and ``maximum`` are
    over finite values. ``bins`` has one count per bin, per category plus one for all others, or per rung
    (free numbers; ``rungs`` are their places, ``shift`` the bits dropped). ``off_edge``: values of a discrete
    column that are on no edge. ``tracked``: values without a bin, by name; exact until there are more names
    than fit, then each count is low by at most ``undercount`` (Misra & Gries 1982, merged after Agarwal et
    al. 2012). ``hashes``: the smallest hashes of the values (Bar-Yossef et al. 2002).
    """

    spec: ColumnSpec
    count: int = 0
    nulls: int = 0
    nans: int = 0
    zeros: int = 0
    negative_infinities: int = 0
    positive_infinities: int = 0
    off_edge: int = 0
    minimum: float | None = None
    maximum: float | None = None
    mean: float = 0.0
    m2: float = 0.0
    shift: int = 0
    undercount: int = 0
    min_length: int | None = None
    max_length: int | None = None
    sum_length: int = 0
    bins: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    rungs: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    hashes: Hashes = field(default_factory=lambda: np.zeros(0, np.uint64))
    tracked: dict[str, int] = field(default_factory=dict)

    @classmethod
    def empty(cls, spec: ColumnSpec) -> ColumnState:
        """The state of no values."""
        places = spec.edges if spec.is_numeric else (spec.categories or ())
        return cls(spec, bins=np.zeros(0 if places is None else len(places) + 1, np.int64))

    @property
    def finite(self) -> int:
        """Values that are neither null nor NaN nor infinite."""
        return self.count - self.missing - self.negative_infinities - self.positive_infinities

    @property
    def missing(self) -> int:
        """Nulls and NaNs."""
        return self.nulls + self.nans

    @property
    def stddev(self) -> float | None:
        """Sample standard deviation of the finite values, None below two of them."""
        return float(np.sqrt(self.m2 / (self.finite - 1))) if self.finite > 1 else None

    @property
    def distinct(self) -> int:
        """Distinct non-missing values: exact below 1024, else the unbiased estimate of Beyer et al. 2007."""
        if len(self.hashes) < sketches.HASHES:
            return len(self.hashes)
        return round((sketches.HASHES - 1) * 2.0**48 / float(self.hashes[-1]))

    @property
    def frequent(self) -> list[tuple[str, int]]:
        """Values with their counts, the most frequent first, equals in the order of their names."""
        named = dict(zip(self.spec.categories or (), self.bins.tolist(), strict=False)) | self.tracked
        return sorted(((k, n) for k, n in named.items() if n), key=lambda item: (-item[1], item[0]))

    def update(self, values: Batch, mask: npt.NDArray[np.bool_] | None = None) -> None:
        """Count a batch in place.

        Args:
            values: one-dimensional, numpy or Arrow.
            mask: true where a numpy value is null.

        Raises:
            ConfigInvalid: the batch cannot be read as the column's kind.
        """
        try:
            if self.spec.is_numeric:
                self._count_numbers(*numbers(values, mask, self.spec.data_type in INTEGERS))
            else:
                self._count_texts(texts_of(values, mask, self.spec.kind == "boolean"))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            found = values.type if hasattr(values, "type") else values.dtype
            raise ConfigInvalid(
                f"Column {self.spec.name!r} is {self.spec.kind} ({self.spec.data_type}) in the profile, "
                f"but the batch holds {found}: {error}.",
                hint="Give the model its declared types, or register a new baseline with this version.",
            ) from error

    def merge(self, other: ColumnState) -> ColumnState:
        """The state of both sets of values; neither argument changes.

        Raises:
            ConfigInvalid: the two were counted on different bins.
        """
        if self.spec != other.spec:
            raise ConfigInvalid(
                f"Column {self.spec.name!r}: two profiles with different bins cannot be merged.",
                hint="Profile both windows with the specs of one baseline.",
            )
        a, b = self, other
        _, mean, m2 = sketches.merged_moments((a.finite, a.mean, a.m2), (b.finite, b.mean, b.m2))
        tracked, cut = sketches.heaviest(sketches.added(a.tracked, b.tracked), TRACKED[self.spec.frozen])
        summed = {name: getattr(a, name) + getattr(b, name) for name in _SUMMED}
        merged = ColumnState(
            self.spec,
            minimum=_least(a.minimum, b.minimum),
            maximum=_most(a.maximum, b.maximum),
            mean=mean,
            m2=m2,
            min_length=_least(a.min_length, b.min_length),
            max_length=_most(a.max_length, b.max_length),
            bins=a.bins + b.bins if self.spec.frozen or not self.spec.is_numeric else a.bins,
            hashes=sketches.smallest(a.hashes, b.hashes),
            tracked=tracked,
            **summed,
        )
        merged.undercount += cut
        if self.spec.is_numeric and not self.spec.frozen:
            merged._adopt(sketches.merged_ladder((a.rungs, a.bins, a.shift), (b.rungs, b.bins, b.shift)))
        return merged

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON, without the spec."""
        data = {name: getattr(self, name) for name in (*_SUMMED, *_SCALARS)}
        return data | {
            "bins": self.bins.tolist(),
            "rungs": self.rungs.tolist(),
            "hashes": sketches.packed(self.hashes),
            "tracked": self.tracked,
        }

    @classmethod
    def from_dict(cls, spec: ColumnSpec, data: Mapping[str, Any]) -> ColumnState:
        """The inverse of :meth:`to_dict`."""
        return cls(
            spec,
            bins=np.array(data["bins"], np.int64),
            rungs=np.array(data["rungs"], np.int64),
            hashes=sketches.unpacked(data["hashes"]),
            tracked=dict(data["tracked"]),
            **{name: data[name] for name in (*_SUMMED, *_SCALARS)},
        )

    def _count_numbers(self, values: npt.NDArray[Any], nulls: int) -> None:
        floats = values.astype(np.float64, copy=False)
        low, above_zero, high, present = floats.searchsorted(_LIMITS, "right").tolist()
        before = self.finite
        self.count += len(values) + nulls
        self.nulls += nulls
        self.nans += len(values) - present
        self.zeros += above_zero - int(floats.searchsorted(0.0))
        self.negative_infinities += low
        self.positive_infinities += present - high
        self.hashes = sketches.with_values(self.hashes, values[:present])
        if low < high:
            self.minimum = _least(self.minimum, values[low].item())
            self.maximum = _most(self.maximum, values[high - 1].item())
            self._count_finite(floats[low:high], before)

    def _count_finite(self, floats: Floats, before: int) -> None:
        batch = sketches.moments(floats)
        _, self.mean, self.m2 = sketches.merged_moments((before, self.mean, self.m2), batch)
        if self.spec.edges is None:
            batch_ladder = sketches.ladder(floats, self.shift)
            self._adopt(sketches.merged_ladder((self.rungs, self.bins, self.shift), batch_ladder))
            return
        below = floats.searchsorted(self.spec.edge_array, "right")
        self.bins = self.bins.copy()  # a frozen profile may share it
        self.bins[:-1] += below
        self.bins[1:] -= below
        self.bins[-1] += len(floats)
        if self.spec.discrete:
            on_edge = below - floats.searchsorted(self.spec.edge_array)
            self.off_edge += len(floats) - int(on_edge.sum())

    def _adopt(self, ladder: Ladder) -> None:
        self.rungs, self.bins, self.shift = ladder

    def _count_texts(self, texts: pa.Array) -> None:
        self.count += len(texts)
        self.nulls += texts.null_count
        found = texts.drop_null().value_counts()
        values, counts = found.field(0), found.field(1).to_numpy()
        if not len(values):
            return
        lengths = pc.utf8_length(values).to_numpy()
        self.min_length = _least(self.min_length, int(lengths.min()))
        self.max_length = _most(self.max_length, int(lengths.max()))
        self.sum_length += int(lengths @ counts)
        places = pc.fill_null(pc.index_in(values, value_set=self.spec.category_array), -1).to_numpy()
        places = np.where(places < 0, len(self.bins) - 1, places)
        self.bins = self.bins + np.bincount(places, counts, len(self.bins)).astype(np.int64)
        self._track(values, counts, (places == len(self.bins) - 1) & (lengths <= LONGEST_NAME))
        self.hashes = sketches.smallest(self.hashes, np.sort(sketches.text_hashes(values)))

    def _track(self, values: pa.Array, counts: Ints, named: npt.NDArray[np.bool_]) -> None:
        room = TRACKED[self.spec.frozen]
        if named.sum() > room:
            # The batch's own Misra-Gries summary first, in numpy: names of rare values never become objects.
            cut = int(np.sort(counts[named])[-room - 1])
            self.undercount += cut
            counts = counts - cut
            named = named & (counts > 0)
        fresh = dict(zip(values.filter(pa.array(named)).to_pylist(), counts[named].tolist(), strict=True))
        self.tracked, cut = sketches.heaviest(sketches.added(self.tracked, fresh), room)
        self.undercount += cut


def _least(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else min(a, b)


def _most(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else max(a, b)
