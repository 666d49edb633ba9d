"""The frozen values that pass between stages.

They have no behaviour beyond conversion to plain data. A stage receives some of these and returns one of
these; nobody changes one in place.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

Stage = Literal["read", "input", "predict", "output"]
Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True)
class RunKey:
    """Which run this is: derived from the inputs, never from a clock or from chance.

    ``run_id`` begins with a letter so that no reader infers a number from the partition folder.
    """

    name: str
    run_date: date
    run_id: str


@dataclass(frozen=True)
class InputFile:
    """One input file: size in bytes, modification time in ns since the epoch."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class ModelColumn:
    """One column of a model signature.

    ``type`` is MLflow's name of the type: boolean, integer, long, float, double, string, binary, datetime,
    or ``array<T>`` of one of these (nested arrays repeat it).
    """

    name: str
    type: str
    required: bool = True


@dataclass(frozen=True)
class ResolvedModel:
    """An exact model version: what an alias meant at the moment the run began.

    ``digest`` is the sha256 over the sorted (path, size, sha256) of all artifact files. ``payload`` is the
    tar archive of exactly those files, the bytes that executors receive. ``saved_with`` has the versions of
    ``python`` and of the flavor's library, as far as the model tells them.
    """

    name: str
    version: str
    alias: str | None
    uri: str
    digest: str
    flavor: str
    inputs: tuple[ModelColumn, ...]
    outputs: tuple[ModelColumn, ...]
    payload: bytes = field(repr=False)
    baseline: Mapping[str, Any] | None = field(default=None, repr=False)
    flavor_options: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    saved_with: Mapping[str, str] = field(default_factory=dict)

    @property
    def model_id(self) -> str:
        """``NAME/VERSION``, the value of the ``model_id`` column in every output."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class CheckOutcome:
    """What one expectation found.

    Counts have Great Expectations' meaning and are None for expectations that do not judge single rows.
    ``extra_pass`` says that Great Expectations had to read the data again for this one.
    """

    suite: Literal["input", "output"]
    rule: str
    expectation_type: str
    severity: Severity
    success: bool
    column: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    element_count: int | None = None
    unexpected_count: int | None = None
    unexpected_percent: float | None = None
    missing_count: int | None = None
    observed_value: Any = None
    extra_pass: bool = False
    exception: str | None = None


@dataclass(frozen=True)
class QuarantinedShare:
    """Rows that one rule sent away (``""``: all rules), in percent of the rows read, in both windows."""

    rule: str
    percent_reference: float
    percent: float

    @property
    def percent_delta(self) -> float:
        """The change, in percentage points."""
        return self.percent - self.percent_reference


@dataclass(frozen=True)
class DriftFinding:
    """The comparison of one column with a reference: one row of ``drift_metrics``.

    ``column_name`` ``:table`` is the whole table, or the whole slice where ``slice_key`` is not None.
    Distances are None where they do not apply or where there is too little data. ``error_bound`` bounds the
    error of ``ks_statistic`` that comes from the stored state (0 where the state is exact); ``js_distance`` is
    exact on its frozen cells. ``quarantined`` has all rules together first.
    """

    column_name: str
    data_type: str
    drift_type: Literal["BASELINE", "CONSECUTIVE"]
    verdict: Literal["ok", "drift", "insufficient_data"]
    statistic: str
    threshold: float | None
    n_ref: int
    n_cur: int
    error_bound: float = 0.0
    count_delta: int | None = None
    avg_delta: float | None = None
    percent_null_delta: float | None = None
    percent_zeros_delta: float | None = None
    percent_distinct_delta: float | None = None
    non_null_columns_added: int | None = None
    non_null_columns_missing: int | None = None
    js_distance: float | None = None
    ks_statistic: float | None = None
    ks_pvalue: float | None = None
    wasserstein_distance: float | None = None
    population_stability_index: float | None = None
    chi_squared_statistic: float | None = None
    chi_squared_pvalue: float | None = None
    tv_distance: float | None = None
    l_infinity_distance: float | None = None
    slice_key: str | None = None
    slice_value: str | None = None
    percent_nan_delta: float | None = None
    columns_added: tuple[str, ...] = ()
    columns_missing: tuple[str, ...] = ()
    columns_retyped: tuple[str, ...] = ()  # "name: type in the reference to type in the window"
    volume_ratio: float | None = None
    quarantined: tuple[QuarantinedShare, ...] = ()


@dataclass(frozen=True)
class Distribution:
    """Shares of one column in the baseline and in the current window, on the same frozen bins.

    ``labels`` has one text per bin (numeric bins: the interval; then ``null`` and, for categories,
    ``other``); both share tuples have the same length and add up to 1 (or are all 0 for no data).
    """

    column: str
    kind: Literal["numeric", "categorical"]
    labels: tuple[str, ...]
    baseline: tuple[float, ...]
    current: tuple[float, ...]


@dataclass(frozen=True)
class NotifyOutcome:
    """What became of one message: ``channel`` is webhook, command, folder or tag.

    ``target`` is where it went, without secrets; ``attempts`` counts tries, ``seconds`` is their wall
    time; ``error`` says why it failed.
    """

    channel: str
    target: str
    ok: bool
    attempts: int = 1
    seconds: float = 0.0
    error: str | None = None


@dataclass(frozen=True)
class RetrainEvent:
    """The wish to train again, for a training job to take up; every value is plain data.

    ``columns`` has, for each column at fault (``""``: the table), the statistic by run date, oldest first.
    """

    name: str
    run_date: str
    run_id: str
    model: Mapping[str, Any]
    statistic: str
    threshold: float
    at_least: int
    of_last: int
    columns: Mapping[str, Mapping[str, float]]
    reason: str
    event: Literal["retrain"] = "retrain"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return plain(dataclasses.asdict(self))


@dataclass(frozen=True)
class StageTime:
    """When a stage of a run began, in seconds after the run did, and how many seconds it took."""

    name: str
    began: float
    seconds: float


@dataclass(frozen=True)
class RunRecord:
    """What a run says of itself: the JSON line, the ledger's record and the notebook's return value.

    ``seconds`` holds wall seconds by stage (and ``total``); ``core_seconds`` what Spark's
    tasks occupied of cores, and the processor time of the driver's Python; ``core_seconds_by`` the same by
    stage, as far as known. ``predictions`` has the figures of each predicted column, ``drift["distances"]``
    those of each judged one (both from :mod:`pipelines.run_figures`). ``memory`` has what the run was expected to
    need, what there was, and the peaks, in MB (see :mod:`pipelines.memory`). ``notified`` says what became of each
    alert, ``event`` is the wish to train again, where there is one. ``quality`` is how good the predictions
    were, once labels have come.
    """

    name: str
    run_id: str
    run_date: str
    status: Literal["published", "already_published", "refused", "blocked", "failed", "dry_run"]
    exit_code: int
    started_at: str
    model: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    quarantined_by: Mapping[str, int] = field(default_factory=dict)
    checks: Mapping[str, Any] = field(default_factory=dict)
    drift: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    rows_per_second: float | None = None
    core_seconds: float | None = None
    core_seconds_by: Mapping[str, float] = field(default_factory=dict)
    predictions: Mapping[str, Any] = field(default_factory=dict)
    peak_worker_rss_mb: float | None = None
    memory: Mapping[str, Any] = field(default_factory=dict)
    spark: Mapping[str, Any] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notified: tuple[Mapping[str, Any], ...] = ()
    event: Mapping[str, Any] | None = None
    quality: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunRecord:
        """The inverse of :meth:`to_dict`; keys of a later format version are ignored."""
        known = {f.name for f in dataclasses.fields(cls)}
        kept = {k: v for k, v in data.items() if k in known}
        lists = {k: tuple(kept.get(k, ())) for k in ("warnings", "notified")}
        return cls(**{**kept, **lists})


@dataclass(frozen=True)
class RunDetail:
    """Everything the page of a run shows, beside the record itself."""

    record: RunRecord
    checks: tuple[CheckOutcome, ...] = ()
    drift: tuple[DriftFinding, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    quarantine_examples: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Observed:
    """What is exported of a run, beside its record; of a run that failed, as much of it as is known.

    ``source`` and ``root`` are absolute paths or URIs: of the input (what all dates share of it), and of the folder of
    the pipeline's tables.
    ``last_published`` is when the last run that published began (ISO, UTC). ``rules`` are the names of row rules.
    ``schemas`` has Spark types by column, of ``input``, ``predictions`` and ``quarantine``; ``feeds`` the source
    column of each model input; ``kept`` what goes from the input to the predictions as it is. ``profile`` has rows
    of ``profile_metrics`` without what is sensitive; ``sizes`` bytes and files of each published table.
    """

    record: RunRecord
    source: str
    root: str
    stages: tuple[StageTime, ...] = ()
    last_published: str | None = None
    rules: frozenset[str] = frozenset()
    schemas: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    feeds: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    profile: tuple[Mapping[str, Any], ...] = ()
    checks: tuple[CheckOutcome, ...] = ()
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: dates as ISO text, NaN and infinities as text, numpy numbers as numbers."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    return value
