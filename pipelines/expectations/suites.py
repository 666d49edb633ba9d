"""Native GX suites: reading them, naming their rules, refusing what cannot work."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import json
import os
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pipelines.errors import ConfigInvalid

Kind = Literal["input", "output"]

_TESTED = (1, 24)
_DOMAIN_KEYS = ("column", "column_A", "column_B", "column_list", "column_set")


@dataclass(frozen=True)
class Rule:
    """One expectation of a suite under the name that people see in reports and in the quarantine."""

    name: str
    expectation: Any

    @property
    def type(self) -> str:
        return str(self.expectation.configuration.type)

    @property
    def severity(self) -> Literal["critical", "warning", "info"]:
        """GX's own field; GX's default is ``critical``."""
        value: Literal["critical", "warning", "info"] = self.expectation.severity.value
        return value

    @property
    def kwargs(self) -> dict[str, Any]:
        """The configured arguments, without GX's internal batch id."""
        kwargs = self.expectation.configuration.to_json_dict().get("kwargs", {})
        return {k: v for k, v in kwargs.items() if k != "batch_id"}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns whose values the expectation looks at, in the order written."""
        return _columns(self.expectation.configuration.kwargs)


@dataclass(frozen=True)
class Suite:
    """A loaded suite: ``rules`` in the order of the file."""

    kind: Kind
    name: str
    rules: tuple[Rule, ...]
    path: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


def import_engine() -> None:
    """Import all that planning a suite needs, GX's engine included.

    Raises:
        ConfigInvalid: as :func:`import_gx`.
    """
    import_gx()
    importlib.import_module("pipelines.expectations.planner")


def import_gx() -> ModuleType:
    """Great Expectations, imported late and with analytics off.

    Raises:
        ConfigInvalid: grpcio or GX is missing, or GX has another major version.
    """
    if importlib.util.find_spec("grpc") is None:
        # With pyspark >= 4 and no grpcio, `import great_expectations` reaches a guard in pyspark's Connect
        # modules that ends the interpreter with status 0: a scheduler would read that as success.
        raise ConfigInvalid(
            "Expectation suites are configured, but the package grpcio is not installed.",
            hint="Install it (pip install grpcio grpcio-status); without it Great Expectations cannot load.",
        )
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    try:
        import great_expectations as gx
        import great_expectations.expectations.core
    except ImportError as error:
        raise ConfigInvalid(
            f"Expectation suites are configured, but Great Expectations cannot be imported: {error}.",
            hint="Install great_expectations>=1.24,<2 or remove quality.input and quality.output.",
        ) from error
    check_version(gx.__version__)
    # GX says so on every touch of a suite that writes row conditions as text, some hundred times per run.
    warnings.filterwarnings("ignore", message=".*deprecated as of GX Core", category=DeprecationWarning)
    return gx


def check_version(found: str) -> None:
    """Refuse a GX that this module was not written for; warn of one it was not tested with."""
    version = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if version < _TESTED or version >= (2,):
        raise ConfigInvalid(
            f"Great Expectations {found} is installed; 1.24 up to, but not including, 2 is needed.",
            hint="Install great_expectations>=1.24,<2.",
        )
    if version != _TESTED:
        warnings.warn(
            f"Great Expectations {found} is newer than the tested 1.24: run the parity test before relying on it.",
            stacklevel=2,
        )


def load_suite(path: str | Path, kind: Kind) -> Suite:
    """Read a suite as GX 1.x writes it to JSON.

    Raises:
        ConfigInvalid: the file is missing or no suite, or expectations in it are unknown or have wrong
            arguments; all problems at once.
    """
    document = _document(Path(path))
    import_gx()
    problems: list[str] = []
    rules: list[Rule] = []
    names: Counter[str] = Counter()
    for position, entry in enumerate(document["expectations"]):
        try:
            expectation = _expectation(entry, document.get("suite_parameters") or {})
        except (TypeError, ValueError) as problem:
            problems.append(f"expectations[{position}]: {problem}")
        else:
            rules.append(Rule(_rule_name(expectation, names), expectation))
    if problems:
        raise ConfigInvalid(
            f"{len(problems)} problem(s) in the expectation suite {path}:\n  " + "\n  ".join(problems) + "\n",
            hint="Correct the suite; GX writes valid files with suite.to_json_dict().",
        )
    meta = document.get("meta") or {}
    return Suite(kind, str(document.get("name") or Path(path).stem), tuple(rules), str(path), meta)


def _document(path: Path) -> dict[str, Any]:
    hint = "Give the path of a suite as Great Expectations 1.x writes it to JSON."
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigInvalid(
            f"The expectation suite {path} cannot be read: {error.strerror}.", hint=hint
        ) from error
    except ValueError as error:
        raise ConfigInvalid(f"The expectation suite {path} is not JSON: {error}.", hint=hint) from error
    if not isinstance(document, dict) or not isinstance(document.get("expectations"), list):
        raise ConfigInvalid(
            f"The file {path} is no expectation suite: it has no list 'expectations'.", hint=hint
        )
    return document


def _expectation(entry: Any, parameters: Mapping[str, Any]) -> Any:
    """The GX expectation that ``entry`` describes; its error says what is wrong with it."""
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise TypeError("expected an object with a 'type' (GX 1.x; 'expectation_type' is the 0.x form)")
    _check_type(entry["type"])
    known = ("type", "kwargs", "meta", "notes", "description", "id", "severity")
    if unknown := sorted(set(entry) - {*known, "rendered_content", "windows"}):
        raise ValueError(f"{entry['type']}: unknown keys {', '.join(unknown)}; known are {', '.join(known)}")
    try:
        given = {k: entry[k] for k in known if entry.get(k) is not None}
        configuration = ExpectationConfiguration(**given)
        configuration.process_suite_parameters(suite_parameters=parameters)
        return configuration.to_domain_obj()
    except Exception as error:
        raise ValueError(f"{entry['type']}: {_reason(error)}") from error


def _check_type(name: str) -> None:
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    known = list_registered_expectation_implementations()
    if name not in known:
        near = difflib.get_close_matches(name, known, 3)
        guess = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"unknown expectation type {name!r}{guess}")


def _reason(error: Exception) -> str:
    """Pydantic's list of errors in one line, or the first line of any other message."""
    errors = getattr(error, "errors", None)
    if callable(errors):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in errors())
    return (str(error) or type(error).__name__).splitlines()[0]


def _columns(kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    found: list[str] = []
    for key in _DOMAIN_KEYS:
        value = kwargs.get(key)
        found += [value] if isinstance(value, str) else list(value or ())
    return tuple(found)


def _rule_name(expectation: Any, taken: Counter[str]) -> str:
    """``meta["name"]`` or ``type(columns)``; later ones of the same name get a number."""
    configuration = expectation.configuration
    label = (expectation.meta or {}).get("name")
    columns = ", ".join(_columns(configuration.kwargs))
    name = str(label or (f"{configuration.type}({columns})" if columns else configuration.type))
    taken[name] += 1
    while taken[name] > 1:
        name = f"{name} #{taken[name]}"
        taken[name] += 1
    return name
