"""A configuration and two suites, proposed from a model and a sample of the input, that run as they are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pyspark.sql.types import AtomicType

from pipelines import (
    input_files,
    model_objects,
    profiles,
    registry,
    sample,
    scoring,
    screening,
    suite_proposal,
)
from pipelines.config import Config
from pipelines.errors import ConfigInvalid, SinkUnwritable, UsageWrong
from pipelines.profiles import TableProfile
from pipelines.records import ResolvedModel
from pipelines.sample import Sample
from pipelines.source_proposal import SourceProposal, date_in, propose
from pipelines.suite_proposal import Input

_NAME = re.compile(r"[a-z0-9-]{1,64}")
_NO_BASELINE = (
    "the model carries no baseline profile: the suites know names, types and nullability only, and drift is measured "
    "against the previous run. Log one with pipelines.registry.log_baseline(model_info, "
    "pipelines.profiles.baseline_from_pandas(X, predictions)), then run this again with --force."
)
_UNTRUSTED = (
    "the model's skops file holds types that skops does not trust by itself: {}. If you know where the model comes "
    "from, take the # away from trusted_types in {}; until then a run ends with exit code 78."
)


@dataclass(frozen=True)
class Wish:
    """What the caller asks for. ``key`` may be empty: one is looked for then. ``allow_pickle`` is written into
    the configuration; nothing is loaded here."""

    model: str
    sample: str
    name: str | None = None
    key: tuple[str, ...] = ()
    out: str = "conf"
    tracking_uri: str | None = None
    allow_pickle: bool = False
    force: bool = False


@dataclass(frozen=True)
class Scaffold:
    """What was written: ``files`` are the configuration, the input and the output suite. ``run_date`` is the
    date in the path of the sample, None where it names none; ``expectations`` counts by suite."""

    name: str
    model_id: str
    files: tuple[str, ...]
    run_date: str | None
    rows_looked_at: int
    key: tuple[str, ...]
    columns: Mapping[str, str]
    expectations: Mapping[str, int]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)


def scaffold(wish: Wish) -> Scaffold:
    """Look at the model and the sample, and write NAME.yaml and expectations/NAME.{input,output}.json.

    Raises:
        UsageWrong: a name that cannot be one, or files that exist already.
        InputUnavailable: the sample is missing or unreadable.
        ModelUnavailable: the registry or the model cannot be had.
        ConfigInvalid: the sample does not fit the model's signature; all misfits at once.
        SinkUnwritable: the files cannot be written.
    """
    name = _name(wish)
    paths = _paths(wish, name)
    files = input_files.list_files(wish.sample)
    config = _least_config(wish, name)
    model = _resolved(config)
    looked = sample.look(wish.sample, files, [c.name for c in model.inputs])
    baseline = profiles.load_baseline(model.baseline) if model.baseline else None
    method = _method(model, baseline)
    outputs = scoring.output_columns(method, model.outputs)
    taken = (*screening.RESERVED, *(o.name for o in outputs))
    proposal = propose(wish.sample, looked, model.inputs, wish.key, taken)
    suites = {
        "input": suite_proposal.input_suite(name, _inputs(model, looked, proposal), baseline, looked.total),
        "output": suite_proposal.output_suite(name, outputs, baseline),
    }
    untrusted = model_objects.untrusted(model.payload, model.flavor_options)
    text = _configuration(wish, config, model, looked, proposal, method, untrusted, paths)
    _write(
        {
            paths[0]: text,
            **{p: suite_proposal.to_json(s) for p, s in zip(paths[1:], suites.values(), strict=True)},
        }
    )
    warnings = (
        *model.warnings,
        *proposal.warnings,
        *(() if baseline else (_NO_BASELINE,)),
        *((_UNTRUSTED.format(", ".join(untrusted), paths[0]),) if untrusted else ()),
    )
    return Scaffold(
        name=name,
        model_id=model.model_id,
        files=tuple(str(p) for p in paths),
        run_date=date_in(wish.sample),
        rows_looked_at=len(looked.rows),
        key=proposal.key,
        columns=proposal.columns,
        expectations={kind: len(s["expectations"]) for kind, s in suites.items()},
        warnings=(*warnings, *_about_password(wish)),
    )


def _name(wish: Wish) -> str:
    registered = re.match(r"models:/([^/@]+)", wish.model)
    own = registered[1] if registered else Path(wish.model).name
    name = wish.name or re.sub(r"[^a-z0-9]+", "-", own.lower()).strip("-")[:64]
    if not _NAME.fullmatch(name):
        raise UsageWrong(
            f"--name: found {name!r}, expected 1 to 64 of the characters a-z, 0-9 and '-'.",
            hint="Give --name NAME.",
        )
    return name


def _paths(wish: Wish, name: str) -> tuple[Path, Path, Path]:
    """Where the files go; nothing that is there is touched without ``force``."""
    out = Path(wish.out)
    suites = out / "expectations"
    paths = (out / f"{name}.yaml", suites / f"{name}.input.json", suites / f"{name}.output.json")
    there = [str(p) for p in paths if os.path.lexists(p)]
    if there and not wish.force:
        raise UsageWrong(
            f"{', '.join(there)} exist(s) already; nothing was written.",
            hint="Choose another --name, or give --force to write over what is there, your edits included.",
        )
    return paths


def _least_config(wish: Wish, name: str) -> Config:
    """The least that says which model and where; the rest is found out with it."""
    return Config.model_validate({
        "name": name,
        "model": {"uri": wish.model, "allow_pickle": wish.allow_pickle},
        "source": {"format": "csv", "path": wish.sample},
        "tracking_uri": wish.tracking_uri,
        "run_date": date.min,
    })  # fmt: skip


def _resolved(config: Config) -> ResolvedModel:
    try:
        return registry.resolve(config.model, config.tracking)
    except ConfigInvalid as error:
        error.hint = error.hint.replace("set model.allow_pickle: true", "give --allow-pickle")
        raise


def _method(model: ResolvedModel, baseline: TableProfile | None) -> str:
    """What the baseline was made with: predictions, or the probabilities of classes beside or instead of them."""
    known = baseline.columns if baseline else {}
    shares = [s.mean for n, s in known.items() if n.startswith("probability_")]
    classes = len(model.outputs) == 1 and bool(shares) and abs(sum(shares) - 1) < 1e-3
    return "predict_proba" if classes else "predict"


def _inputs(model: ResolvedModel, looked: Sample, proposal: SourceProposal) -> list[Input]:
    """The model inputs that have a column."""
    found = []
    for wanted in model.inputs:
        column = proposal.column_of(wanted)
        if column not in looked.types:
            continue
        kind = looked.types[column]
        own = type(kind).__name__ if looked.format == "parquet" and isinstance(kind, AtomicType) else None
        seen = None if wanted.type.startswith("array<") else sample.finite_range(looked.rows[column])
        found.append(Input(wanted, column, seen, own))
    return found


def _configuration(
    wish: Wish,
    config: Config,
    model: ResolvedModel,
    looked: Sample,
    proposal: SourceProposal,
    method: str,
    untrusted: Sequence[str],
    paths: Sequence[Path],
) -> str:
    """The text of the configuration, with the reasons as comments."""
    baseline = (
        ("model", "the profile logged with the model")
        if model.baseline
        else ("previous", "the model has none")
    )
    tracking = None if _about_password(wish) else wish.tracking_uri
    when = "{run_date}" in proposal.path
    lines = [
        f"# Proposed by jobs.init_pipeline for {_comment(model.model_id)}: yours to edit.",
        "# conf/template.yaml explains every key.",
        f"name: {config.name}",
        "model:",
        f"  uri: {_flow(wish.model)}",
        f"  predict: {method}",
        *(["  allow_pickle: true"] if wish.allow_pickle else []),
        *_about_trust(untrusted),
        "source:",
        f"  format: {looked.format}",
        f"  path: {_flow(proposal.path)}" + ("" if when else "  # the same files on every date"),
        *([f"  options: {_flow(looked.options)}"] if looked.options else []),
        f"  key: {_flow(list(proposal.key))}  # {proposal.key_reason}",
        *([f"  columns: {_flow(dict(proposal.columns))}  # model input: column"] if proposal.columns else []),
        *(
            [f"  types: {_flow(dict(proposal.types))}  # of columns that the model does not read"]
            if proposal.types
            else []
        ),
        "quality:",
        f"  input: {_flow(str(paths[1]))}",
        f"  output: {_flow(str(paths[2]))}",
        "  max_quarantined: 0.01  # share of rows read; above it nothing is published",
        "drift:",
        f"  baseline: {baseline[0]}  # {baseline[1]}",
        "  on_drift: warn  # or alert (exit 10), block (exit 11, not published)",
        "sink:",
        "  path: out",
        *([f"tracking_uri: {_flow(tracking)}"] if tracking else []),
    ]
    return "\n".join(lines) + "\n"


def _about_trust(untrusted: Sequence[str]) -> list[str]:
    """To trust a type is for a person to decide: what is proposed is a comment."""
    if not untrusted:
        return []
    return [
        "  # skops does not trust these types by itself; if you know where the model comes from, take the # away:",
        f"  # trusted_types: {_flow(list(untrusted))}",
    ]


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    legible = json.dumps(value, ensure_ascii=False).isprintable()  # U+0085 is a line break to YAML
    text = yaml.safe_dump(
        [value], default_flow_style=True, width=2**20, allow_unicode=legible, sort_keys=False
    )
    return text.strip()[1:-1]


def _comment(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _about_password(wish: Wish) -> tuple[str, ...]:
    """A password does not belong into a file that is kept."""
    if not wish.tracking_uri or not urlsplit(wish.tracking_uri).password:
        return ()
    return ("the tracking URI holds a password and was not written; set MLFLOW_TRACKING_URI for the runs.",)


def _write(texts: Mapping[Path, str]) -> None:
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        except OSError as error:
            raise SinkUnwritable(
                f"{path}: cannot be written ({error.strerror}).", hint="Check --out and its permissions."
            ) from error
