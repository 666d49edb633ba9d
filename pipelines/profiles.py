"""Column profiles as mergeable states, computed in the scoring workers batch by batch.

The state of a column is *exact* where a verdict depends on it: bins and categories are frozen in the
baseline, and a window is described by its counts on them. So profile(A + B) = merge(profile(A), profile(B))
to the last count, whatever the batches and partitions; mean and standard deviation alone depend on the
order of merging, in the last digits (Chan et al. 1979), so merge in a fixed order.

A column without a baseline is *free*. Its numbers fall on a ladder of at most 1024 rungs: the bits of a
double, made order-preserving, with as many low bits dropped as needed (uniform collapse, after Epicoco et
al. 2020, "UDDSketch"). Which bits are dropped depends on the set of values alone, so the merge law stays
exact. :func:`freeze` turns a free profile into a frozen one for later comparison.

Values are accounted for by one law: ``count = nulls + nans + infinities + sum(bins)``.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import ConfigInvalid

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["numeric", "categorical", "boolean", "datetime"]
Batch: TypeAlias = Any  # a one-dimensional numpy array, pyarrow Array or ChunkedArray
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Ladder = tuple[Ints, Ints, int]  # rungs, one count per rung, bits dropped

FORMAT = "scoreline-profile"
FORMAT_VERSION = 1
EDGES = 256  # most reference values kept as bin edges of one column
CATEGORIES = 200  # most reference categories with a bin of their own
TRACKED = {True: 256, False: 1024}  # most further values counted by name, by "has a baseline"
LONGEST_NAME = 200  # characters; a longer text is counted, never named
RUNGS = 1024
HASHES = 1024  # standard error of the distinct estimate: 1/sqrt(1022), 3.1 %

_INTEGERS = frozenset({"byte", "short", "int", "integer", "long", "bigint"})
_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys((*_INTEGERS, "float", "double", "decimal"), "numeric"),
    **dict.fromkeys(("timestamp", "timestamp_ntz", "datetime", "date"), "datetime"),
    "boolean": "boolean",
    "string": "categorical",
}
_SIGN_OFF = np.int64(2**63 - 1)
_GOLDEN, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


@dataclass(frozen=True)
class ColumnSpec:
    """What a column's state counts.

    ``edges`` (numbers): strictly increasing; bins are (-inf, e0], (e0, e1], ..., (e_last, inf). The first
    edge is the largest double below the smallest reference value, the others are reference values, so the
    first and the last bin hold what the reference never reached. ``discrete`` says that the edges are all
    of the reference's values. ``categories``: the reference's values with a bin of their own; one more bin
    holds all others. Both are None in a free spec. Times are seconds since 1970-01-01 UTC.
    """

    name: str
    kind: Kind
    data_type: str
    edges: tuple[float, ...] | None = None
    categories: tuple[str, ...] | None = None
    discrete: bool = False

    @property
    def is_numeric(self) -> bool:
        """Whether values are numbers (or times) on an axis."""
        return self.kind in ("numeric", "datetime")

    @property
    def frozen(self) -> bool:
        """Whether bins or categories are fixed."""
        return (self.edges if self.is_numeric else self.categories) is not None

    @cached_property
    def edge_array(self) -> Floats:
        """``edges`` as an array."""
        return np.array(self.edges or (), np.float64)

    @cached_property
    def category_array(self) -> pa.Array:
        """``categories`` as an Arrow array."""
        return pa.array(self.categories or (), pa.large_string())


@dataclass
class ColumnState:
    """Counts and sketches of one column; all but mean and m2 are exact under merge (see the module).

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
        return int(self.bins.sum())

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
        if len(self.hashes) < HASHES:
            return len(self.hashes)
        return round((HASHES - 1) * 2.0**48 / float(self.hashes[-1]))

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
                self._count_numbers(*_numbers(values, mask, self.spec.data_type in _INTEGERS))
            else:
                self._count_texts(_texts(values, mask, self.spec.kind == "boolean"))
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
        mean, m2 = _merged_moments((a.finite, a.mean, a.m2), (b.finite, b.mean, b.m2))
        tracked, cut = _heaviest(_added(a.tracked, b.tracked), TRACKED[self.spec.frozen])
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
            hashes=_smallest(a.hashes, b.hashes),
            tracked=tracked,
            **summed,
        )
        merged.undercount += cut
        if self.spec.is_numeric and not self.spec.frozen:
            merged._adopt(_ladder((a.rungs, a.bins, a.shift), (b.rungs, b.bins, b.shift)))
        return merged

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON, without the spec."""
        data = {name: getattr(self, name) for name in (*_SUMMED, *_SCALARS)}
        gaps = np.diff(self.hashes, prepend=np.uint64(0)).astype("<u8")
        return data | {
            "bins": self.bins.tolist(),
            "rungs": self.rungs.tolist(),
            "hashes": gaps.view(np.uint8).reshape(-1, 8)[:, 5::-1].T.tobytes().hex(),
            "tracked": self.tracked,
        }

    @classmethod
    def from_dict(cls, spec: ColumnSpec, data: Mapping[str, Any]) -> ColumnState:
        """The inverse of :meth:`to_dict`."""
        packed = np.frombuffer(bytes.fromhex(data["hashes"]), np.uint8).reshape(6, -1).T
        gaps = np.zeros((len(packed), 8), np.uint8)
        gaps[:, 5::-1] = packed
        return cls(
            spec,
            bins=np.array(data["bins"], np.int64),
            rungs=np.array(data["rungs"], np.int64),
            hashes=np.cumsum(gaps.reshape(-1).view("<u8"), dtype=np.uint64),
            tracked=dict(data["tracked"]),
            **{name: data[name] for name in (*_SUMMED, *_SCALARS)},
        )

    def _count_numbers(self, values: npt.NDArray[Any], nulls: int) -> None:
        self.count += len(values) + nulls
        self.nulls += nulls
        values = np.sort(values)
        present = int(np.searchsorted(values, np.nan)) if values.dtype.kind == "f" else len(values)
        self.nans += len(values) - present
        values = values[:present]
        self.hashes = _with_values(self.hashes, values)
        floats = values.astype(np.float64, copy=False)
        low, high = (np.searchsorted(floats, -np.inf, "right"), np.searchsorted(floats, np.inf, "left"))
        self.negative_infinities += int(low)
        self.positive_infinities += int(present - high)
        if low < high:
            self._count_finite(values[low:high], floats[low:high])

    def _count_finite(self, values: npt.NDArray[Any], floats: Floats) -> None:
        self.zeros += int(np.searchsorted(floats, 0.0, "right") - np.searchsorted(floats, 0.0, "left"))
        self.minimum = _least(self.minimum, values[0].item())
        self.maximum = _most(self.maximum, values[-1].item())
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(floats.mean())
            deviations = floats - mean
            batch = (len(floats), mean, float(deviations @ deviations))
        self.mean, self.m2 = _merged_moments((self.finite, self.mean, self.m2), batch)
        if self.spec.edges is None:
            batch_ladder = (_ordered(floats), np.ones(len(floats), np.int64), 0)
            self._adopt(_ladder((self.rungs, self.bins, self.shift), batch_ladder))
            return
        below = np.searchsorted(floats, self.spec.edge_array, "right")
        self.bins = self.bins + np.diff(below, prepend=0, append=len(floats))
        if self.spec.discrete:
            on_edge = below - np.searchsorted(floats, self.spec.edge_array, "left")
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
        self.hashes = _smallest(self.hashes, np.sort(_text_hashes(values)))

    def _track(self, values: pa.Array, counts: Ints, named: npt.NDArray[np.bool_]) -> None:
        room = TRACKED[self.spec.frozen]
        if named.sum() > room:
            # The batch's own Misra-Gries summary first, in numpy: names of rare values never become objects.
            cut = int(np.sort(counts[named])[-room - 1])
            self.undercount += cut
            counts = counts - cut
            named = named & (counts > 0)
        fresh = dict(zip(values.filter(pa.array(named)).to_pylist(), counts[named].tolist(), strict=True))
        self.tracked, cut = _heaviest(_added(self.tracked, fresh), room)
        self.undercount += cut


_SUMMED = (
    "count", "nulls", "nans", "zeros", "negative_infinities", "positive_infinities", "off_edge",
    "undercount", "sum_length"
)  # fmt: skip
_SCALARS = ("minimum", "maximum", "mean", "m2", "shift", "min_length", "max_length")


@dataclass
class TableProfile:
    """Column states in the order of the table."""

    columns: dict[str, ColumnState]

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

    def update(self, batch: Mapping[str, Batch]) -> None:
        """Count one batch in place.

        Columns without a state are passed over, so features and predictions may come in two calls.
        """
        for name in self.columns.keys() & batch.keys():
            self.columns[name].update(batch[name])

    def merge(self, other: TableProfile) -> TableProfile:
        """The profile of both sets of rows; a column known to one of them only is kept as it is."""
        shared = self.columns.keys() & other.columns.keys()
        both = {name: self.columns[name].merge(other.columns[name]) for name in shared}
        return TableProfile({name: both.get(name, s) for name, s in (self.columns | other.columns).items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        columns = [{"spec": asdict(state.spec), "state": state.to_dict()} for state in self.columns.values()]
        return {"format": FORMAT, "format_version": FORMAT_VERSION, "columns": columns}

    def to_bytes(self) -> bytes:
        """Compact bytes: deflated JSON."""
        return zlib.compress(json.dumps(self.to_dict(), separators=(",", ":")).encode(), 6)

    @classmethod
    def from_bytes(cls, data: bytes) -> TableProfile:
        """The inverse of :meth:`to_bytes`; raises ConfigInvalid like :func:`load_baseline`."""
        try:
            return load_baseline(json.loads(zlib.decompress(data)))
        except (zlib.error, ValueError) as error:
            raise ConfigInvalid(
                f"These bytes are no column profile: {error}.", hint="Write them with TableProfile.to_bytes."
            ) from error


def free_spec(name: str, data_type: str) -> ColumnSpec | None:
    """The spec of a column without a baseline; None for types that are not profiled (binary, arrays).

    Args:
        name: the column.
        data_type: Spark's or MLflow's name of the type.
    """
    kind = _KINDS.get(data_type.partition("(")[0])
    return ColumnSpec(name, kind, data_type) if kind else None


def specs_from(profile: TableProfile) -> tuple[ColumnSpec, ...]:
    """The specs by which a window is counted so that it can be compared with ``profile``."""
    return freeze(profile).specs


def freeze(profile: TableProfile) -> TableProfile:
    """The same counts on bins and categories fixed from now on; frozen columns stay as they are."""
    return TableProfile({name: _frozen(state) for name, state in profile.columns.items()})


def baseline_from_pandas(
    frame: pd.DataFrame, predictions: Any = None, *, source: str = "training data"
) -> dict[str, Any]:
    """The baseline profile of a reference frame, as plain data to log as JSON with the model version.

    Missing values are nulls, as pandas means them. Columns of arrays, lists or bytes are left out.

    Args:
        frame: the features, one column each.
        predictions: what the model says of these rows, None for no prediction columns. One dimension gives
            ``prediction``; a matrix gives ``probability_0``, ...; a data frame keeps ``prediction`` and
            names every other column ``probability_<its name>``.
        source: what the rows are, in words, for the report.

    Raises:
        ConfigInvalid: no rows, or no column that can be profiled.
    """
    given = {str(name): frame[name] for name in frame.columns} | _prediction_columns(predictions)
    arrays = {name: _as_arrow(values, None) for name, values in given.items()}
    specs = {name: free_spec(name, _data_type(array.type)) for name, array in arrays.items()}
    states = [_reference(spec, arrays[spec.name]) for spec in specs.values() if spec]
    if not len(frame) or not states:
        raise ConfigInvalid(
            f"A baseline needs rows and columns of numbers, texts, booleans or times; found {frame.shape}.",
            hint="Give the frame the model was trained on.",
        )
    profile = TableProfile({state.spec.name: state for state in states})
    return profile.to_dict() | {"source": source, "rows": len(frame)}


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
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigInvalid(
            f"The column profile is damaged: {error!r}.", hint="Register the baseline again."
        ) from error
    return TableProfile({state.spec.name: state for state in states})


def distribution_function(state: ColumnState) -> tuple[Floats, Ints]:
    """Points of a numeric state's distribution: ``(x, n)`` with exactly ``n`` finite values <= ``x``."""
    if state.spec.frozen:
        return state.spec.edge_array, np.cumsum(state.bins[:-1])
    return _tops(state.rungs, state.shift), np.cumsum(state.bins)


def quantiles(state: ColumnState, levels: npt.ArrayLike) -> list[float]:
    """Quantiles of the finite values of a numeric state, [] where there are none.

    Between two points of :func:`distribution_function` values are taken to lie evenly, so a quantile is off
    by at most the bin it lies in; where all values are kept (discrete, or at most 1024 distinct values
    without a baseline) it is an actual value, the smallest with that share at or below it.
    """
    n = state.finite
    if not n or state.minimum is None or state.maximum is None:
        return []
    ranks = np.asarray(levels, np.float64) * n
    x, below = distribution_function(state)
    if not state.off_edge and (state.spec.discrete or (not state.spec.frozen and state.shift == 0)):
        places = np.searchsorted(below, np.clip(np.ceil(ranks - 1e-9), 1, n))
        return [float(v) for v in x[places]]
    inside = (x > state.minimum) & (x < state.maximum)
    x = np.concatenate([[state.minimum], x[inside], [state.maximum]])
    return [float(v) for v in np.interp(ranks, np.concatenate([[0], below[inside], [n]]), x)]


def _frozen(state: ColumnState) -> ColumnState:
    if state.spec.frozen:
        return replace(state)
    if not state.spec.is_numeric:
        named = dict(state.frequent[:CATEGORIES])
        counts = [*named.values(), state.finite - sum(named.values())]
        rest = {name: n for name, n in state.tracked.items() if name not in named}
        kept, cut = _heaviest(rest, TRACKED[True])
        spec = replace(state.spec, categories=tuple(named))
        return replace(
            state, spec=spec, bins=np.array(counts, np.int64), tracked=kept, undercount=state.undercount + cut
        )
    x, below = distribution_function(state)
    edges, places = _chosen_edges(x, below, state.minimum)
    spec = replace(state.spec, edges=edges, discrete=state.shift == 0 and len(places) == len(x))
    counts_below = np.concatenate([[0], below[places]]) if len(x) else np.zeros(1, np.int64)
    bins = np.diff(counts_below, prepend=0, append=state.finite)
    return replace(state, spec=spec, bins=bins, rungs=state.rungs[:0], shift=0)


def _reference(spec: ColumnSpec, array: pa.Array) -> ColumnState:
    """The frozen state of reference data: edges are actual values of it."""
    free = ColumnState.empty(spec)
    free.update(array)
    if not spec.is_numeric or free.shift == 0:
        return _frozen(free)
    values, _ = _numbers(array, None, spec.data_type in _INTEGERS)
    floats = np.sort(values[np.isfinite(values)].astype(np.float64))
    starts = np.flatnonzero(np.diff(floats, prepend=-np.inf))
    below = np.append(starts[1:], len(floats))
    edges, _ = _chosen_edges(floats[starts], below, free.minimum)
    state = ColumnState.empty(replace(spec, edges=edges))
    state.update(array)
    return state


def _chosen_edges(x: Floats, below: Ints, minimum: float | None) -> tuple[tuple[float, ...], Ints]:
    """At most 256 of the points ``x`` as edges, evenly spread in rank and closer in the tails.

    Returns:
        The edges, one below the minimum in front of them, and the places of the others in ``x``. A column
        without a single value gets the edge 0.
    """
    if minimum is None:
        return (0.0,), np.zeros(0, np.int64)
    places = np.arange(len(x))
    if len(x) > EDGES:
        tails = 0.5 ** np.arange(9, 16)
        levels = np.sort(np.concatenate([np.linspace(0, 1, EDGES - 2 * len(tails)), tails, 1 - tails]))
        places = np.searchsorted(below, np.maximum(np.ceil(levels * below[-1]), 1))
        places = places[np.diff(places, prepend=-1) > 0]
    under = np.nextafter(float(minimum), -np.inf)
    return (float(under), *x[places].tolist()), places


def _spec_from(data: Mapping[str, Any]) -> ColumnSpec:
    lists = {key: None if data[key] is None else tuple(data[key]) for key in ("edges", "categories")}
    return ColumnSpec(**{**data, **lists})


def _prediction_columns(predictions: Any) -> dict[str, Any]:
    if predictions is None:
        return {}
    if hasattr(predictions, "columns"):
        names = {
            c: c if str(c).startswith(("prediction", "probability_")) else f"probability_{c}"
            for c in predictions
        }
        return {str(name): predictions[column] for column, name in names.items()}
    values = np.asarray(predictions)
    if values.ndim == 1:
        return {"prediction": values}
    return {f"probability_{i}": values[:, i] for i in range(values.shape[1])}


def _data_type(arrow: pa.DataType) -> str:
    """Spark's name of an Arrow type, the Arrow name where Spark has none that is profiled."""
    if pa.types.is_dictionary(arrow):
        return _data_type(arrow.value_type)
    if pa.types.is_integer(arrow):
        return {8: "byte", 16: "short", 32: "integer"}.get(arrow.bit_width, "long")
    named = [
        (pa.types.is_float64, "double"), (pa.types.is_floating, "float"), (pa.types.is_boolean, "boolean"),
        (pa.types.is_decimal, "decimal"), (pa.types.is_date, "date"), (pa.types.is_timestamp, "timestamp"),
        (pa.types.is_string, "string"), (pa.types.is_large_string, "string"), (pa.types.is_null, "double")
    ]  # fmt: skip
    return next((name for test, name in named if test(arrow)), str(arrow))


def _as_arrow(values: Any, mask: npt.NDArray[np.bool_] | None) -> pa.Array:
    try:
        array = (
            values
            if isinstance(values, (pa.Array, pa.ChunkedArray))
            else pa.array(values, mask=mask, from_pandas=True)
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # objects of several types
        nulls = _is_null(values) if mask is None else mask
        array = pa.array(
            [None if null else str(v) for v, null in zip(values, nulls, strict=True)], pa.string()
        )
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _is_null(values: Any) -> list[bool]:
    return [v is None or (isinstance(v, float) and np.isnan(v)) for v in values]


def _numbers(
    values: Batch, mask: npt.NDArray[np.bool_] | None, integer: bool
) -> tuple[npt.NDArray[Any], int]:
    """Values as int64 or float64 (0.0 for -0.0) without nulls, and the number of nulls."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        plain, nulls = (values, 0) if mask is None else (values[~mask], int(mask.sum()))
    else:
        plain, nulls = _numbers_of_arrow(_as_arrow(values, mask))
    if plain.dtype.kind == "f":
        plain = plain.astype(np.float64, copy=False) + 0.0
        return _whole(plain, nulls) if integer else (plain, nulls)
    if plain.dtype == np.uint64 and len(plain) and plain.max() > _SIGN_OFF:
        return plain.astype(np.float64), nulls
    return plain.astype(np.int64 if integer or plain.dtype.kind != "f" else np.float64, copy=False), nulls


def _numbers_of_arrow(array: pa.Array) -> tuple[npt.NDArray[Any], int]:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    present = array.drop_null() if array.null_count else array
    if pa.types.is_temporal(present.type):
        micros = present.cast(pa.timestamp("us", getattr(present.type, "tz", None)), safe=False).cast(
            pa.int64()
        )
        return micros.to_numpy(zero_copy_only=False) / 1e6, array.null_count
    if pa.types.is_boolean(present.type):
        present = present.cast(pa.int8())
    elif not (pa.types.is_integer(present.type) or pa.types.is_floating(present.type)):
        present = present.cast(pa.float64())
    return present.to_numpy(zero_copy_only=False), array.null_count


def _whole(values: Floats, nulls: int) -> tuple[npt.NDArray[Any], int]:
    """Numbers of an integer column that came as doubles: NaN is how pandas writes their null."""
    present = values[~np.isnan(values)]
    nulls += len(values) - len(present)
    if np.all((present == np.trunc(present)) & (np.abs(present) < 2.0**63)):
        return present.astype(np.int64), nulls
    return present, nulls


def _texts(values: Batch, mask: npt.NDArray[np.bool_] | None, boolean: bool) -> pa.Array:
    """Values as large_string; whole doubles without a point, so that a label is the same text in any type."""
    array = _as_arrow(values, mask)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if boolean and not pa.types.is_boolean(array.type):
        array = array.cast(pa.bool_())
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), None, array)
    return array.cast(pa.large_string())


def _ordered(floats: Floats) -> Ints:
    """The bits of doubles as integers in the same order."""
    bits = floats.view(np.int64)
    return bits ^ ((bits >> 63) & _SIGN_OFF)


def _tops(rungs: Ints, shift: int) -> Floats:
    """The largest double of each rung (never -0.0 nor beyond the largest finite one)."""
    tops = (rungs << shift) | ((1 << shift) - 1)
    tops = np.where(tops == -1, -2, np.minimum(tops, _ordered(np.array([np.finfo(np.float64).max]))[0]))
    return (tops ^ ((tops >> 63) & _SIGN_OFF)).view(np.float64)


def _ladder(a: Ladder, b: Ladder) -> Ladder:
    """Two ladders as one of at most 1024 rungs, dropping as few bits as that takes."""
    shift = max(a[2], b[2])
    places = np.concatenate([a[0] >> (shift - a[2]), b[0] >> (shift - b[2])])
    order = np.argsort(places, kind="stable")
    places, tallies = places[order], np.concatenate([a[1], b[1]])[order]
    while len(starts := np.flatnonzero(np.diff(places, prepend=places[:1] - 1))) > RUNGS:
        places, tallies = places[starts] >> 1, np.add.reduceat(tallies, starts)
        shift += 1
    return (places[starts], np.add.reduceat(tallies, starts) if len(starts) else tallies, shift)


def _scrambled(bits: Hashes) -> Hashes:
    """A 64-bit hash whose high bits depend on all bits (multiply and xor-shift, twice)."""
    mixed = bits * _GOLDEN
    mixed ^= mixed >> np.uint64(32)
    mixed *= _MIX
    return mixed


def _with_values(hashes: Hashes, values: npt.NDArray[Any]) -> Hashes:
    """``hashes`` with those of sorted int64 or float64 values."""
    if len(values) > 1:
        new = np.diff(values) != 0 if values.dtype.kind == "i" else values[1:] != values[:-1]
        if np.count_nonzero(new) < len(values) / 2:
            values = values[np.concatenate([[True], new])]
    fresh = _scrambled(values.view(np.uint64)) >> np.uint64(16)
    if len(hashes) == HASHES:
        fresh = fresh[fresh < hashes[-1]]
    return _smallest(hashes, fresh) if len(fresh) else hashes


def _smallest(a: Hashes, b: Hashes) -> Hashes:
    both = np.sort(np.concatenate([a, b]))
    new = np.ones(len(both), bool)
    new[1:] = both[1:] != both[:-1]
    return both[new][:HASHES]


def _text_hashes(texts: pa.Array) -> Hashes:
    """Hashes of the UTF-8 bytes of large_string values (multilinear over positions, then mixed)."""
    _, offset_buffer, data_buffer = texts.buffers()
    ends = np.frombuffer(offset_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)[ends[0] : ends[-1]]
    ends = ends - ends[0]
    lengths = np.diff(ends)
    place = np.arange(len(data)) - np.repeat(ends[:-1], lengths)
    weights = _scrambled(np.arange(1, int(lengths.max(initial=0)) + 1).astype(np.uint64))
    sums = np.concatenate(
        [np.zeros(1, np.uint64), np.cumsum((data + np.uint64(1)) * weights[place], dtype=np.uint64)]
    )
    return _scrambled(sums[ends[1:]] - sums[ends[:-1]] + lengths.astype(np.uint64)) >> np.uint64(16)


def _merged_moments(a: tuple[int, float, float], b: tuple[int, float, float]) -> tuple[float, float]:
    """Mean and sum of squared deviations of two groups of (n, mean, m2): Chan, Golub & LeVeque 1979."""
    n = a[0] + b[0]
    if not a[0] or not b[0]:
        return (a if a[0] else b)[1:]
    delta = b[1] - a[1]
    return a[1] + delta * b[0] / n, a[2] + b[2] + delta * delta * a[0] * b[0] / n


def _added(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return {name: a.get(name, 0) + b.get(name, 0) for name in {**a, **b}}


def _heaviest(named: dict[str, int], room: int) -> tuple[dict[str, int], int]:
    """The names that keep a count when only ``room`` of them fit, and what every count was lowered by."""
    if len(named) <= room:
        return named, 0
    cut = sorted(named.values(), reverse=True)[room]
    return {name: n - cut for name, n in named.items() if n > cut}, cut


def _least(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else min(a, b)


def _most(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else max(a, b)
