"""What a run is compared with, and on which bins it is counted for that."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import date

from pipelines import ledger, profiles, scoring
from pipelines.config import Config
from pipelines.errors import ConfigInvalid
from pipelines.profiles import ColumnSpec, TableProfile
from pipelines.records import ResolvedModel
from pipelines.storage import AnyPath

Previous = tuple[date, TableProfile]  # the run date of an earlier run, and its frozen profile


def previous(config: Config, root: AnyPath) -> Previous | None:
    """The published run of the latest earlier date; None where there is none, or drift is not to be measured."""
    if config.drift.baseline == "none":
        return None
    last = ledger.last_published(root, config.run_date.isoformat())
    path = ledger.profile_path(root, last.run_date, last.run_id) if last else None
    if last is None or path is None or not path.is_file():
        return None
    return date.fromisoformat(last.run_date), profiles.freeze(TableProfile.from_bytes(path.read_bytes()))


def reference(
    config: Config, model: ResolvedModel, earlier: Previous | None, warn: Callable[[str], None]
) -> TableProfile | None:
    """The profile that decides, or None where there is none yet (with a warning).

    Args:
        earlier: from :func:`previous`.

    Raises:
        ConfigInvalid: a path that cannot be read, or a profile of another format.
    """
    wanted = config.drift.baseline
    if wanted == "none":
        return None
    if wanted == "model":
        if model.baseline is None:
            warn(
                "drift: the model version carries no baseline profile; log one with pipelines.registry.log_baseline, "
                "or compare with drift.baseline: previous, or with none"
            )
        return profiles.load_baseline(model.baseline) if model.baseline else None
    if wanted == "previous":
        if earlier is None:
            warn("drift: no earlier published run to compare with yet")
        return earlier[1] if earlier else None
    return _of_data(wanted, model, config)


def specs(
    against: TableProfile | None, earlier: Previous | None, model: ResolvedModel, config: Config
) -> tuple[ColumnSpec, ...]:
    """What to profile: on the frozen bins of the reference, else of the previous run, where these know a column
    of its kind; freely elsewhere."""
    outputs = scoring.output_columns(config.model.predict, model.outputs)
    names = {c.name: c.type for c in (*model.inputs, *outputs)}
    decisive = {s.name: s for s in profiles.specs_from(against)} if against else {}
    frozen = ({s.name: s for s in profiles.specs_from(earlier[1])} if earlier else {}) | decisive
    found = []
    for free in (profiles.free_spec(name, kind) for name, kind in names.items()):
        if free is not None:
            known = frozen.get(free.name)
            found.append(known if known and known.kind == free.kind else free)
    expanded = [s for n, s in decisive.items() if n.startswith("probability_") and "probability" in names]
    return (*found, *expanded)


def bins_digest(counted: Sequence[ColumnSpec]) -> str:
    """Names these bins: what was counted on others cannot be added up with what is counted on these."""
    return hashlib.sha256(repr(counted).encode()).hexdigest()[:12]


def _of_data(path: str, model: ResolvedModel, config: Config) -> TableProfile:
    """The profile of reference data on disk: the model's input columns, under the model's names."""
    import pandas as pd
    import pyarrow.dataset as ds

    try:
        form = "csv" if path.endswith((".csv", ".csv.gz")) else "parquet"
        data = ds.dataset(path, format=form)
        wanted = {c.name: config.source.columns.get(c.name, c.name) for c in model.inputs}
        known = {name: source for name, source in wanted.items() if source in data.schema.names}
        read = data.to_table(columns=sorted(set(known.values()))).to_pandas()
        frame = pd.DataFrame({name: read[source] for name, source in known.items()})
    except (OSError, ValueError) as error:
        raise ConfigInvalid(
            f"drift.baseline: cannot read reference data at {path!r} ({error}).",
            hint="Give model, previous, none, or the path of Parquet or CSV data.",
        ) from error
    return profiles.load_baseline(profiles.baseline_from_pandas(frame, source=path))
