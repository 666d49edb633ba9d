"""Score big tables on a schedule with a model from an MLflow registry, and trust the result.

>>> from pipelines import load_config, run_batch
>>> record = run_batch(load_config("conf/NAME.yaml", run_date="2026-11-22"), spark=spark)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.batch import run_batch
    from pipelines.config import load_config

__all__ = ["load_config", "run_batch"]
_HOME = {"run_batch": "pipelines.batch", "load_config": "pipelines.config"}


def __getattr__(
    name: str,
) -> Any:  # late, so that a worker that needs one small module imports one small module
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
