"""MLflow's own loader, for flavors that have no short way; the one place where a worker imports mlflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def load(folder: Path) -> Callable[[Any], Any]:
    """The ``predict`` of the pyfunc model in ``folder``."""
    import mlflow.pyfunc

    model = mlflow.pyfunc.load_model(str(folder))
    return lambda frame: model.predict(frame)
