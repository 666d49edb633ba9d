"""From the verified bytes of a model to an object that predicts; one load per worker process.

Runs in Python workers: nothing here imports mlflow, Great Expectations or pyspark. Flavors whose own library
suffices are loaded with it; the rest goes through MLflow's pyfunc loader.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import shutil
import sys
import tarfile
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.profiles import ColumnSpec
from pipelines.records import ModelColumn
from pipelines.scoring import compiled, environment, sharing
from pipelines.scoring.reuse import spare_from_collection

Predict = Callable[[Any], Any]
_CACHED_MODELS = 2  # the model of this run and, in a session that lives long, the one before it
_cache: OrderedDict[str, LoadedModel] = OrderedDict()


@dataclass(frozen=True)
class ModelSpec:
    """What a worker needs to know to load a model: small, picklable, without the bytes.

    ``flavor_options``: the flavor's section of the MLmodel file. ``trusted_types``: classes that a skops file
    may hold beside those skops itself trusts. ``environment``: versions that the worker must have. ``shared``: workers
    of one executor hold it in memory together.
    """

    digest: str
    payload_digest: str
    flavor: str
    method: str
    flavor_options: Mapping[str, Any] = field(default_factory=dict)
    trusted_types: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    compile_tolerance: float | None = None
    shared: bool = False


@dataclass(frozen=True)
class LoadedModel:
    """``predict`` takes a DataFrame of n rows; ``classes`` are the labels of a classifier, or None; ``form``: the
    verdict on another form of ``estimator``, the library's own object; ``shared``: bytes of it in memory that this
    executor's workers hold together."""

    predict: Predict
    classes: Any = None
    estimator: Any = None
    form: Mapping[str, Any] = field(default_factory=lambda: {"form": None, "reason": "off"})
    shared: int = 0


def load(
    spec: ModelSpec,
    payload: Callable[[], bytes],
    inputs: Sequence[ModelColumn] = (),
    specs: Sequence[ColumnSpec] = (),
) -> tuple[LoadedModel, bool]:
    """The model, and whether this call loaded it (it is kept for later tasks of this worker).

    Args:
        inputs: of the model's signature.
        specs: of its baseline; both for the check of a faster form, where ``compile_tolerance`` is given.

    Raises:
        WrongEnvironment: this worker has other versions than the model wants.
        ValueError: the bytes that arrived are not those that were verified.
    """
    environment.check(spec.environment)
    key = f"{spec.digest}:{spec.method}"
    if spec.compile_tolerance is not None:
        key += f":{spec.compile_tolerance}"
    if key in _cache:
        _cache.move_to_end(key)
        return _cache[key], False
    model = _of_shared(spec, payload) if spec.shared else _of_folder(_arrived(spec, payload), spec)
    if spec.compile_tolerance is not None:
        model = _in_its_fastest_form(model, spec.method, inputs, specs, spec.compile_tolerance)
    _cache[key] = model
    full = len(_cache) > _CACHED_MODELS
    while len(_cache) > _CACHED_MODELS:
        _cache.popitem(last=False)
    spare_from_collection(let_go=full)
    return model, True


def _in_its_fastest_form(
    model: LoadedModel,
    method: str,
    inputs: Sequence[ModelColumn],
    specs: Sequence[ColumnSpec],
    tolerance: float,
) -> LoadedModel:
    predict, verdict = compiled.choose(model.estimator, model.predict, method, inputs, specs, tolerance)
    return replace(model, predict=predict, form=verdict, estimator=None)


def _of_shared(spec: ModelSpec, payload: Callable[[], bytes]) -> LoadedModel:
    """The bytes are asked for by the first worker of an executor alone."""
    name = repr((spec.payload_digest, sorted(spec.flavor_options.items()), sorted(spec.trusted_types)))
    form = spec.flavor_options.get("serialization_format", "cloudpickle")
    held = sharing.shared(
        name, lambda: _of_folder(_arrived(spec, payload), spec).estimator, by_value=form == "cloudpickle"
    )
    return replace(_of_object(held.model, spec), shared=held.bytes)


def _arrived(spec: ModelSpec, payload: Callable[[], bytes]) -> Path:
    """The model folder of bytes that have been verified, and are let go."""
    data = payload()
    found = hashlib.sha256(data).hexdigest()
    if found != spec.payload_digest:
        raise ValueError(
            f"model bytes have sha256 {found}, expected {spec.payload_digest}: refusing to load them"
        )
    return _unpack(data)


def _unpack(data: bytes) -> Path:
    """The model folder, readable by this user alone, where Spark removes it when the application ends: a worker
    is ended without a chance to clean up."""
    spark_folder = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0]
    folder = Path(tempfile.mkdtemp(prefix="scoreline-model-", dir=spark_folder or None))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _of_folder(folder: Path, spec: ModelSpec) -> LoadedModel:
    """Load; the folder stays only where the model may still read from it."""
    loader = _LOADERS.get(spec.flavor)
    if loader is None:
        return _pyfunc(folder, spec)
    if code := spec.flavor_options.get("code"):
        sys.path.insert(0, str(folder / code))
        return loader(folder, spec)
    try:
        return loader(folder, spec)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sklearn(folder: Path, spec: ModelSpec) -> LoadedModel:
    return _of_object(_object(folder, spec, spec.flavor_options.get("pickled_model", "model.skops")), spec)


def _object(folder: Path, spec: ModelSpec, name: str) -> Any:
    """A whole Python object. The registry lets pickle pass only where the configuration allows it."""
    form = spec.flavor_options.get("serialization_format", "cloudpickle")
    if form == "skops":
        import skops.io

        return skops.io.load(folder / name, trusted=list(spec.trusted_types))
    module = importlib.import_module("cloudpickle" if form == "cloudpickle" else "pickle")
    with (folder / name).open("rb") as file:
        return module.load(file)


def _xgboost(folder: Path, spec: ModelSpec) -> LoadedModel:
    import xgboost

    path = folder / spec.flavor_options["data"]
    kind = spec.flavor_options.get("model_class", "xgboost.core.Booster").rpartition(".")[2]
    model = getattr(xgboost, kind)()
    model.load_model(path)
    if kind != "Booster":
        return _of_object(model, spec)
    _only_predict("an xgboost Booster", spec)
    return LoadedModel(lambda frame: model.predict(xgboost.DMatrix(frame)))


def _lightgbm(folder: Path, spec: ModelSpec) -> LoadedModel:
    if spec.flavor_options.get("model_class", "").endswith("Booster"):
        import lightgbm

        _only_predict("a lightgbm Booster", spec)
        booster = lightgbm.Booster(model_file=str(folder / spec.flavor_options["data"]))
        return LoadedModel(booster.predict, estimator=booster)
    return _of_object(_object(folder, spec, spec.flavor_options["data"]), spec)


def _onnx(folder: Path, spec: ModelSpec) -> LoadedModel:
    import numpy as np
    import onnxruntime

    _only_predict("an ONNX model", spec)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # one core per task: Spark is the one that runs things side by side
    path = folder / spec.flavor_options.get("data", "model.onnx")
    runtime = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = [(i.name, i.type) for i in runtime.get_inputs()]
    kinds = {
        "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64,
        "tensor(int32)": np.int32, "tensor(bool)": np.bool_, "tensor(string)": np.object_,
    }  # fmt: skip

    def predict(frame: Any) -> Any:
        if len(inputs) == 1:
            (name, kind), matrix = inputs[0], frame.to_numpy()
            feed = {name: matrix.astype(kinds.get(kind, matrix.dtype), copy=False)}
        else:
            feed = {n: frame[n].to_numpy().reshape(-1, 1).astype(kinds.get(k, np.object_)) for n, k in inputs}
        return runtime.run(None, feed)[0]

    return LoadedModel(predict)


def _pyfunc(folder: Path, spec: ModelSpec) -> LoadedModel:
    from pipelines.scoring import pyfunc_loader

    _only_predict(f"a model of flavor {spec.flavor!r}", spec)
    return LoadedModel(pyfunc_loader.load(folder))


def _of_object(model: Any, spec: ModelSpec) -> LoadedModel:
    _limit_threads()
    method = getattr(model, spec.method, None)
    if method is None:
        offered = [m for m in ("predict", "predict_proba", "decision_function") if hasattr(model, m)]
        raise AttributeError(f"{type(model).__name__} has no {spec.method}; it has {', '.join(offered)}")
    return LoadedModel(method, getattr(model, "classes_", None), model)


def _only_predict(what: str, spec: ModelSpec) -> None:
    if spec.method != "predict":
        raise AttributeError(f"{what} has no {spec.method}; it has predict")


def _limit_threads() -> None:
    """One core per task: a BLAS that starts a thread per core in each worker only makes them wait."""
    if "OMP_NUM_THREADS" not in os.environ:
        import threadpoolctl

        threadpoolctl.threadpool_limits(int(os.environ.get("SCORELINE_THREADS", "1")))


_LOADERS: dict[str, Callable[[Path, ModelSpec], LoadedModel]] = {
    "sklearn": _sklearn,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
}
NATIVE_FLAVORS = tuple(_LOADERS)
