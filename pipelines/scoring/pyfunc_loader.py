"""MLflow's own loader, for flavors that have no short way; the one place where a worker imports mlflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def load(folder: Path) -> Callable[[Any], Any]:
    """The ``predict`` of the pyfunc model in ``folder``.

    Without MLflow's check of the inputs: they have the signature's types already, and where a whole number or
    a truth value is NULL the check raises, optional or not.
    """
    import mlflow.pyfunc
    from mlflow.models import ModelSignature

    model = mlflow.pyfunc.load_model(str(folder))
    declared = model.metadata.signature
    model.metadata.signature = ModelSignature(outputs=declared.outputs, params=declared.params)
    predict: Callable[[Any], Any] = model.predict
    return predict
