"""Whether this worker has what the model was saved with: asked where the model is loaded, not on the driver."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

PYTHON = "python"
_SAME_LIBRARY = {"xgboost": ("xgboost", "xgboost-cpu"), "onnxruntime": ("onnxruntime", "onnxruntime-gpu")}


class WrongEnvironment(ValueError):
    """This worker has another Python or another library than the model was saved with."""


def check(wanted: Mapping[str, str]) -> None:
    """Compare major and minor versions; what a patch release changes is no reason to refuse.

    Args:
        wanted: version by distribution; ``python`` is the interpreter's.

    Raises:
        WrongEnvironment: naming all that differs, what was found and what was expected.
    """
    wrong = [
        f"{name} {found or '(none)'}, expected {expected}"
        for name, expected in wanted.items()
        if _minor(found := _here(name)) != _minor(expected)
    ]
    if wrong:
        node = platform.node()
        raise WrongEnvironment(
            f"model.environment: the worker on {node} has {'; '.join(wrong)} (in {sys.executable})"
        )


def _here(name: str) -> str | None:
    if name == PYTHON:
        return platform.python_version()
    for distribution in _SAME_LIBRARY.get(name, (name,)):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def _minor(text: str | None) -> list[str]:
    return (text or "").split(".")[:2]
