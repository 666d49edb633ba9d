"""YAML to frozen, checked values: every problem at once, each with its path."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, ValidationError

from pipelines.errors import ConfigInvalid

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")]
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_NAME = re.compile(r"secret|token|passw|key|credential|_sas", re.IGNORECASE)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Model(_Section):
    """Which model, and how it may be loaded.

    ``allow_pickle`` must be true for a model saved with pickle or cloudpickle (loading one can run any
    code); ``trusted_types`` lists further classes a skops file may contain.
    """

    uri: Annotated[str, StringConstraints(min_length=1)]
    predict: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")] = "predict"
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    allow_pickle: bool = False
    trusted_types: tuple[str, ...] = ()


class Source(_Section):
    """What is read. ``header`` names the columns of CSV files that have no header line; ``types`` gives the
    Spark type of CSV columns the model's signature says nothing about (they are strings otherwise)."""

    format: Literal["csv", "parquet"]
    path: Annotated[str, StringConstraints(min_length=1)]
    options: dict[str, Any] = {}
    key: tuple[str, ...] = ()
    carry: tuple[str, ...] = ()
    columns: dict[str, str] = {}
    types: dict[str, str] = {}
    header: tuple[str, ...] | None = None


class Quality(_Section):
    """Great Expectations suites, and the largest share of rows that may be quarantined."""

    input: str | None = None
    output: str | None = None
    max_quarantined: Share = 0.01


class ColumnThresholds(_Section):
    js_distance: Share | None = None
    wasserstein: Annotated[float, Field(ge=0)] | None = None


class Thresholds(_Section):
    """Limits of the drift statistics; ``columns`` overrides them for single columns."""

    js_distance: Share = 0.1
    wasserstein: Annotated[float, Field(ge=0)] = 0.1
    columns: dict[str, ColumnThresholds] = {}


class Drift(_Section):
    """``baseline``: ``model`` (logged with the version), ``previous``, ``none``, or a path to reference data.

    The table drifts when at least ``dataset_share`` of the judged columns do.
    """

    baseline: Annotated[str, StringConstraints(min_length=1)] = "model"
    thresholds: Thresholds = Thresholds()
    dataset_share: Share = 0.5
    on_drift: Literal["warn", "alert", "block"] = "warn"


class Sink(_Section):
    path: Annotated[str, StringConstraints(min_length=1)] = "out"


class Config(_Section):
    """A checked configuration for one logical date."""

    name: Name
    model: Model
    source: Source
    quality: Quality = Quality()
    drift: Drift = Drift()
    sink: Sink = Sink()
    tracking_uri: str | None = None
    run_date: date
    _secrets: tuple[str, ...] = PrivateAttr(default=())

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that came from secret-looking environment variables: masked wherever text is written."""
        return self._secrets

    @property
    def tracking(self) -> str:
        """The MLflow tracking URI: configured, from the environment, or the embedded default."""
        return self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"

    def digest(self) -> str:
        """sha256 over everything that decides the content of the outputs.

        The suites count by their text, not by their path; where the outputs go does not count.
        """
        body = self.model_dump(mode="json", exclude={"sink": True, "tracking_uri": True, "model": {"uri", "digest"}})
        for kind in ("input", "output"):
            path = body["quality"][kind]
            body["quality"][kind] = Path(path).read_text("utf-8") if path and Path(path).is_file() else path
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def load_config(
    path: str | Path, *, run_date: str | date, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
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
    tree = _read(Path(path))
    for text in overrides:
        _override(tree, text)
    values, problems, secrets = _expand(tree, "", os.environ if environ is None else environ)
    values["run_date"] = day = _day(run_date)
    if isinstance(source := values.get("source"), dict) and isinstance(source.get("path"), str):
        source["path"] = source["path"].replace("{run_date}", day.isoformat())
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        problems += [_problem(e) for e in error.errors(include_url=False)]
        config = None
    if config is None or problems:
        listing = "\n".join(f"  - {p}" for p in problems)
        raise ConfigInvalid(f"{path}: {len(problems)} problem(s):\n{listing}\n", hint="Correct the file and run again.")
    config._secrets = tuple(secrets)
    return config


def _day(value: str | date) -> date:
    if isinstance(value, date):
        return value
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            raise ValueError(value)
        return date.fromisoformat(value)
    except ValueError:
        raise ConfigInvalid(
            f"run_date: found {value!r}, expected a date such as 2026-11-22.", hint="Give --run-date YYYY-MM-DD."
        ) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigInvalid(
            f"{path}: cannot be read ({error.strerror}).", hint="Give --config the path of a YAML file."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path}: not valid YAML: {error}.", hint="Correct the syntax.") from error
    if not isinstance(tree, dict):
        raise ConfigInvalid(
            f"{path}: found {type(tree).__name__}, expected a mapping.", hint="Start from a file in conf/."
        )
    return tree


def _override(tree: dict[str, Any], text: str) -> None:
    path, sign, value = text.partition("=")
    *parents, leaf = path.split(".")
    if not sign or not leaf:
        raise ConfigInvalid(f"--set {text!r}: expected key.path=value.", hint="Example: --set sink.path=out.")
    for parent in parents:
        node = tree.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigInvalid(f"--set {text!r}: {parent!r} is not a section.", hint="Name a key below a section.")
        tree = node
    tree[leaf] = yaml.safe_load(value)


def _expand(value: Any, path: str, environ: Mapping[str, str]) -> tuple[Any, list[str], list[str]]:
    """``value`` with ``${VARIABLE}`` replaced, the problems met, and the secret values used."""
    if isinstance(value, dict):
        done = {k: _expand(v, f"{path}.{k}".lstrip("."), environ) for k, v in value.items()}
        parts = list(done.values())
        return {k: v[0] for k, v in done.items()}, sum((p[1] for p in parts), []), sum((p[2] for p in parts), [])
    if isinstance(value, list):
        parts = [_expand(v, f"{path}[{i}]", environ) for i, v in enumerate(value)]
        return [p[0] for p in parts], sum((p[1] for p in parts), []), sum((p[2] for p in parts), [])
    if not isinstance(value, str):
        return value, [], []
    names = _VARIABLE.findall(value)
    missing = [f"{path}: the environment variable {n} is not set" for n in names if n not in environ]
    secrets = [environ[n] for n in names if n in environ and _SECRET_NAME.search(n) and environ[n]]
    return _VARIABLE.sub(lambda m: environ.get(m[1], ""), value), missing, secrets


def _problem(error: Any) -> str:
    """One line for one of pydantic's errors: path, found, expected, and the nearest right key."""
    location = error["loc"]
    path = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        known = _keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{path}: unknown key; {advice}"
    if error["type"] == "missing":
        return f"{path}: missing, and it has no default"
    return f"{path}: found {error['input']!r}; {error['msg'][0].lower()}{error['msg'][1:]}"


def _keys(location: Sequence[Any]) -> list[str]:
    section: Any = Config
    for part in location:
        field = section.model_fields.get(part) if hasattr(section, "model_fields") else None
        section = field.annotation if field else None
    fields = getattr(section, "model_fields", {})
    return [name for name in fields if not (section is Config and name == "run_date")]
