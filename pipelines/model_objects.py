"""What can be known of a model's object without making one: which types a skops file holds, which methods a class has.

For the checks before a run; the workers load the model, and say the same then. Nothing of the model is executed.
"""

from __future__ import annotations

import importlib
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

METHODS = ("predict", "predict_proba", "decision_function")
_ONLY_PREDICT = {"xgboost.core.Booster": "an xgboost Booster", "lightgbm.basic.Booster": "a lightgbm Booster"}


def untrusted(payload: bytes, options: Mapping[str, Any], trusted: Sequence[str] = ()) -> list[str]:
    """Types in a skops file that neither skops nor ``trusted`` trusts; empty for a model in another format.

    Args:
        payload: the tar archive of the model's files.
        options: the flavor's section of the MLmodel file.
    """
    file = _skops(payload, options)
    if file is None:
        return []
    import skops.io

    return sorted(set(skops.io.get_untrusted_types(data=file)) - set(trusted))


def lacks(payload: bytes, flavor: str, options: Mapping[str, Any], method: str) -> str | None:
    """Why a model has no ``method``, as far as that can be told without loading it; None where it may have it."""
    if method == "predict":
        return None
    what = _ONLY_PREDICT.get(str(options.get("model_class", "")))
    if what is None and flavor not in ("sklearn", "xgboost", "lightgbm"):
        what = "an ONNX model" if flavor == "onnx" else f"a model of flavor {flavor!r}"
    if what:
        return f"{what} has no {method}; it has predict"
    name = _class_of(payload, flavor, options)
    kind = _imported(name) if name else None
    if kind is None or hasattr(kind, method):
        return None
    offered = [m for m in METHODS if hasattr(kind, m)]
    return f"{kind.__name__} has no {method}; it has {', '.join(offered) or 'none of ' + ', '.join(METHODS)}"


def _class_of(payload: bytes, flavor: str, options: Mapping[str, Any]) -> str | None:
    """The class that answers: of a pipeline its last step's."""
    if flavor == "xgboost":
        kind = str(options.get("model_class", "")).rpartition(".")[2]
        return f"xgboost.{kind}" if kind else None
    file = _skops(payload, options)
    if file is None:
        return None
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        state = json.loads(archive.read("schema.json"))
    while state.get("__class__") == "Pipeline":
        last = _steps(state)
        if last is None:
            return None
        state = last
    return f"{state.get('__module__')}.{state.get('__class__')}"


def _steps(pipeline: Mapping[str, Any]) -> Any:
    """The state of a pipeline's last step, as skops writes it: steps is a list of (name, estimator)."""
    try:
        return pipeline["content"]["content"]["steps"]["content"][-1]["content"][1]
    except (KeyError, IndexError, TypeError):
        return None


def _imported(name: str) -> Any:
    """A class of one of the libraries that a model may be of; no other module is imported for a look."""
    module, _, kind = name.rpartition(".")
    if module.partition(".")[0] not in ("sklearn", "xgboost", "lightgbm"):
        return None
    try:
        return getattr(importlib.import_module(module), kind, None)
    except ImportError:
        return None


def _skops(payload: bytes, options: Mapping[str, Any]) -> bytes | None:
    """The skops file, if that is what the model is saved as."""
    if options.get("serialization_format") != "skops":
        return None
    name = str(options.get("pickled_model") or options.get("data") or "model.skops")
    with tarfile.open(fileobj=io.BytesIO(payload)) as archive:
        found = archive.extractfile(name) if name in archive.getnames() else None
        file = found.read() if found else b""
    return (
        file if zipfile.is_zipfile(io.BytesIO(file)) else None
    )  # a broken one is for whoever loads it to tell
