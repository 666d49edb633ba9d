"""Configuration as text: YAML, overrides and environment variables, before anything is checked."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import ConfigInvalid
from pipelines.redaction import named_like_secrets

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_NAME = re.compile(r"secret|token|passw|key|credential|_sas", re.IGNORECASE)
_SECRET_OPTION = re.compile(rf"source\.options\..*(?:{_SECRET_NAME.pattern})", re.IGNORECASE)
_NO_SECRETS = ("", "true", "false")


class _Yaml(yaml.SafeLoader):
    """YAML in which a key that occurs twice is an error: the later one would win without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        keys = [k.value for k, _ in node.value if k.tag != "tag:yaml.org,2002:merge"]
        twice = (
            sorted({k for k in keys if keys.count(k) > 1}) if all(isinstance(k, str) for k in keys) else []
        )
        if twice:
            problem = f"{', '.join(twice)} twice in one section"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def read(path: Path) -> dict[str, Any]:
    """The tree of a YAML file.

    Raises:
        ConfigInvalid: it cannot be read, is not YAML or not a mapping.
    """
    try:
        tree = yaml.load(path.read_text("utf-8"), _Yaml)  # noqa: S506 - a SafeLoader
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


def override(tree: dict[str, Any], text: str) -> list[str]:
    """Set one value in ``tree`` (a fresh one, which nobody else holds); what is wrong with ``text``."""
    path, sign, value = text.partition("=")
    *parents, leaf = path.split(".")
    if not sign or not all((*parents, leaf)):
        return [f"--set {text!r}: expected key.path=value, as in sink.path=out"]
    text = f"{path}=***" if "webhook" in parents or _SECRET_OPTION.match(path) else text
    try:
        parsed = yaml.load(value, _Yaml)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError:
        return [f"--set {text!r}: the value is not valid YAML; put it in quotes"]
    for parent in parents:
        if tree.get(parent) is None:
            tree[parent] = {}
        if not isinstance(tree[parent], dict):
            return [f"--set {text!r}: {parent!r} is a value, expected a section; name a key below a section"]
        tree = tree[parent]
    tree[leaf] = parsed
    return []


def expand(value: Any, path: str, environ: Mapping[str, str]) -> tuple[Any, list[str], list[str]]:
    """``value`` with ``${VARIABLE}`` replaced, the problems met, and all secrets that are known now: those used
    here, and what else in the environment is named like one (a message of MLflow or Spark may quote it)."""
    done, problems, secrets = _expand(value, path, environ)
    return done, problems, list(dict.fromkeys((*secrets, *named_like_secrets(environ))))


def _expand(value: Any, path: str, environ: Mapping[str, str]) -> tuple[Any, list[str], list[str]]:
    if isinstance(value, dict):
        done = {k: _expand(v, f"{path}.{k}".lstrip("."), environ) for k, v in value.items()}
        return {k: v[0] for k, v in done.items()}, _all(done.values(), 1), _all(done.values(), 2)
    if isinstance(value, list):
        items = [_expand(v, f"{path}[{i}]", environ) for i, v in enumerate(value)]
        return [i[0] for i in items], _all(items, 1), _all(items, 2)
    if not isinstance(value, str):
        return value, [], []
    names = _VARIABLE.findall(value)
    missing = [f"{path}: the environment variable {n} is not set" for n in names if n not in environ]
    secrets = [environ[n] for n in names if n in environ and _SECRET_NAME.search(n) and environ[n]]
    found = _VARIABLE.sub(lambda m: environ.get(m[1], ""), value)
    secret = found not in _NO_SECRETS and _SECRET_OPTION.match(path)
    return found, missing, [*secrets, found] if secret else secrets


def _all(parts: Iterable[tuple[Any, list[str], list[str]]], which: int) -> list[str]:
    return [text for part in parts for text in part[which]]
