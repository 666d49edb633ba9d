"""YAML to frozen, checked values: every problem at once, each with its path."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from pipelines import config_files
from pipelines.config_alerts import Notify, Retrain
from pipelines.config_observability import Observability
from pipelines.errors import ConfigInvalid
from pipelines.redaction import redact


def _number(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic takes true for 1.0, and a limit of 1.0 lets everything pass
        raise ValueError("expected a number")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


Share = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)]
Distance = Annotated[float, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")]
_EXPECTED = {  # pydantic's words are about Python, these are about YAML
    "tuple_type": "expected a list",
    "dict_type": "expected a section of key: value lines",
    "model_type": "expected a section of key: value lines",
    "string_type": "expected text (in quotes, if YAML takes it for something else)",
    "date_type": "expected a date such as 2026-11-22",
}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Model(_Section):
    """Which model, and how it may be loaded.

    ``allow_pickle`` must be true for a model saved with pickle or cloudpickle (loading one can run any
    code); ``trusted_types`` lists further classes a skops file may contain. ``environment``: ``inherit`` takes
    the workers as they are, ``check`` refuses workers whose Python or library the model was not saved with,
    ``archive`` runs them in the packed environment ``archive``, checked in the same way.
    """

    uri: Annotated[str, StringConstraints(min_length=1)]
    predict: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")] = "predict"
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    allow_pickle: bool = False
    trusted_types: tuple[str, ...] = ()
    environment: Literal["inherit", "check", "archive"] = "inherit"
    archive: Annotated[str, StringConstraints(min_length=1)] | None = None

    @model_validator(mode="after")
    def _archive_where_it_is_used(self) -> Model:
        if (self.environment == "archive") != (self.archive is not None):
            raise ValueError("environment: archive and archive: path of the packed environment go together")
        return self


class Source(_Section):
    """What is read. ``header`` names the columns of CSV files that have no header line; ``types`` gives the
    Spark type of CSV columns the model's signature says nothing about (they are strings otherwise). In CSV an
    empty field, quoted or not, is NULL; partition folders of Parquet are text unless the signature types them.
    ``incremental``: only files that no published date of the pipeline has scored yet."""

    format: Literal["csv", "parquet"]
    path: Annotated[str, StringConstraints(min_length=1)]
    options: dict[str, Any] = {}
    key: tuple[str, ...] = ()
    carry: tuple[str, ...] = ()
    columns: dict[str, str] = {}
    types: dict[str, str] = {}
    header: tuple[str, ...] | None = None
    incremental: bool = False

    @model_validator(mode="after")
    def _csv_only(self) -> Source:
        if self.format == "parquet" and (self.header or self.types):
            raise ValueError("header and types are for CSV; Parquet files carry names and types")
        return self


class Quality(_Section):
    """Great Expectations suites, and the largest share of rows that may be quarantined.

    Values of the source's columns in ``sensitive`` stand in the quarantine and nowhere else: they are masked
    on pages, in records and in messages.
    """

    input: str | None = None
    output: str | None = None
    max_quarantined: Share = 0.01
    sensitive: tuple[str, ...] = ()


class ColumnThresholds(_Section):
    js_distance: Share | None = None
    wasserstein: Distance | None = None


class Thresholds(_Section):
    """Limits of the drift statistics; ``columns`` overrides them for single columns.

    ``volume``: the relative change of the number of rows, ``quarantined``: the change of the share that is
    quarantined, each against the previous run; without a limit they are told and not judged.
    """

    js_distance: Share = 0.1
    wasserstein: Distance = 0.1
    columns: dict[str, ColumnThresholds] = {}
    volume: Distance | None = None
    quarantined: Share | None = None


class Drift(_Section):
    """``baseline``: ``model`` (logged with the version), ``previous``, ``none``, or a path to reference data.

    The table drifts when at least ``dataset_share`` of the judged columns do. ``slices``: Spark SQL expressions
    over the source's columns; for each value of each of them, drift is measured on its own.
    """

    baseline: Annotated[str, StringConstraints(min_length=1)] = "model"
    thresholds: Thresholds = Thresholds()
    dataset_share: Share = 0.5
    slices: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    on_drift: Literal["warn", "alert", "block"] = "warn"


class Scoring(_Section):
    """How the model is applied; what is published does not depend on it.

    ``engine``: ``scan`` lets workers read plain Parquet for themselves, ``udf`` lets Spark read and write,
    ``auto`` scans where it can. ``batch_timeout``: seconds that one call of the model may take, 0 for no limit.
    ``compile``: ``auto`` uses a faster form of the model whose labels are the same, and whose other numbers differ
    by at most ``compile_tolerance`` (relative above 1), on a sample. ``check_memory``: refuse a run that
    clearly does not fit into memory.
    """

    engine: Literal["auto", "udf", "scan"] = "auto"
    batch_timeout: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 600.0
    compile: Literal["auto", "off"] = "auto"
    compile_tolerance: Distance = 1e-6
    check_memory: bool = True


class Sink(_Section):
    path: Annotated[str, StringConstraints(min_length=1)] = "out"


class Config(_Section):
    """A checked configuration for one logical date."""

    name: Name
    model: Model
    source: Source
    quality: Quality = Quality()
    drift: Drift = Drift()
    scoring: Scoring = Scoring()
    sink: Sink = Sink()
    notify: Notify = Notify()
    retrain: Retrain | None = None
    observability: Observability = Observability()
    tracking_uri: str | None = None
    run_date: date
    _secrets: tuple[str, ...] = PrivateAttr(default=())

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values of secret-looking environment variables, addresses of webhooks and headers of exporters: masked in
        all that is written."""
        webhooks = (*self.notify.secrets, *(self.retrain.secrets if self.retrain else ()))
        return (*self._secrets, *webhooks, *self.observability.secrets)

    @property
    def tracking(self) -> str:
        """The MLflow tracking URI: configured, from the environment, or the embedded default."""
        return self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"

    def digest(self) -> str:
        """sha256 over everything that decides the content of the outputs.

        The suites count by their text, not by their path; where the outputs go, who is told of them and what
        is masked does not count.
        """
        elsewhere = dict.fromkeys(("sink", "tracking_uri", "notify", "retrain", "observability"), True)
        of_model = {"uri", "digest", "environment", "archive"}
        body = self.model_dump(
            mode="json",
            exclude={**elsewhere, "model": of_model, "quality": {"sensitive"}, "scoring": {"check_memory"}},
        )
        for kind in ("input", "output"):
            path = body["quality"][kind]
            body["quality"][kind] = Path(path).read_text("utf-8") if path and Path(path).is_file() else path
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def load_config(
    path: str | Path,
    *,
    run_date: str | date,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read, complete and check a configuration file.

    Args:
        path: the YAML file.
        run_date: the logical date, ``YYYY-MM-DD``; replaces ``{run_date}`` in ``source.path``.
        overrides: ``key.path=value`` texts, the value in YAML syntax.
        environ: where ``${VARIABLE}`` is looked up; the process environment by default.

    Raises:
        ConfigInvalid: naming every problem with its path, what was found and what was expected.
    """
    tree = config_files.read(Path(path))
    problems = [p for text in overrides for p in config_files.override(tree, text)]
    if "run_date" in tree:
        problems.append("run_date: found in the file, expected on the command line; a file serves every date")
    values, unset, secrets = config_files.expand(tree, "", os.environ if environ is None else environ)
    day, wrong = _day(run_date)
    problems += [*unset, *wrong]
    values = {k: v for k, v in values.items() if v is not None} | {
        "run_date": day
    }  # an empty section is none
    if isinstance(source := values.get("source"), dict) and isinstance(source.get("path"), str):
        source["path"] = source["path"].replace("{run_date}", day.isoformat())
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        problems += [_problem(e) for e in error.errors(include_url=False)]
        config = None
    if config is None or problems:
        listing = redact("\n".join(f"  - {p}" for p in problems), secrets)
        raise ConfigInvalid(
            f"{path}: {len(problems)} problem(s):\n{listing}\n", hint="Correct the file and run again."
        )
    config._secrets = tuple(secrets)
    return config


def _day(value: str | date) -> tuple[date, list[str]]:
    """The date, and what is wrong with it."""
    if isinstance(value, date):
        return value.date() if isinstance(value, datetime) else value, []
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            raise ValueError(value)
        return date.fromisoformat(value), []
    except ValueError:
        return date.min, [
            f"run_date: found {value!r}, expected a date such as 2026-11-22 (--run-date YYYY-MM-DD)"
        ]


def _problem(error: Any) -> str:
    """One line for one of pydantic's errors: path, found, expected, and the nearest right key."""
    location, kind = error["loc"], error["type"]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    if kind == "extra_forbidden":
        known = _keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{path}: unknown key; {advice}"
    if kind == "missing":
        return f"{path}: missing, and it has no default"
    if kind == "value_error" and isinstance(error["input"], dict):
        return f"{path}: {error['ctx']['error']}"
    said = (
        str(error["ctx"]["error"])
        if kind == "value_error"
        else f"{error['msg'][0].lower()}{error['msg'][1:]}"
    )
    found = "***" if "webhook" in location else repr(error["input"])  # an address of a webhook is a secret
    return f"{path}: found {found}; {_EXPECTED.get(kind, said)}"


def _inner(annotation: Any) -> Any:
    """The section in ``Section | None``; anything else as it is."""
    if not isinstance(annotation, UnionType):
        return annotation
    return next((a for a in get_args(annotation) if hasattr(a, "model_fields")), annotation)


def _keys(location: Sequence[Any]) -> list[str]:
    section: Any = Config
    for part in location:
        if hasattr(section, "model_fields"):
            field = section.model_fields.get(part)
            section = _inner(field.annotation) if field else None
        else:
            section = get_args(section)[-1]  # dict[str, Section]: any name leads to one
    fields = getattr(section, "model_fields", {})
    return [name for name in fields if not (section is Config and name == "run_date")]
