"""What a worker will import before it can score: told to it early, it does so while the driver is still planning."""

from __future__ import annotations

# Whatever the model, and what is sure to be needed of its library: its own classes are known when it is loaded.
OWN = ("pipelines.scoring.scan", "pipelines.scoring.worker", "pandas")
_OF_FLAVOR = {
    "sklearn": ("threadpoolctl", "sklearn.base", "sklearn.utils.validation", "scipy.stats"),
    "xgboost": ("threadpoolctl", "xgboost"),
    "lightgbm": ("threadpoolctl", "lightgbm"),
    "onnx": ("onnxruntime",),
}


def libraries(flavor: str) -> tuple[str, ...]:
    """Modules of a model's flavor; one that goes through MLflow's loader imports what it needs when it is loaded."""
    return _OF_FLAVOR.get(flavor, ())
