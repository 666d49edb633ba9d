"""What a folder with an MLflow model says of itself, read without importing mlflow or unpickling anything."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pipelines.errors import ConfigInvalid, ModelUnavailable
from pipelines.records import ModelColumn

BASELINE = "scoreline_baseline.json"
_WRITTEN_BY_DOWNLOAD = {"registered_model_meta"}  # not an artifact: the client adds it to its copy
_NOT_NEEDED_TO_PREDICT = {BASELINE, "input_example.json", "serving_input_example.json", "conda.yaml"}
_DISTRIBUTION = {
    "sklearn": "scikit-learn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "onnx": "onnxruntime",
}
_NATIVE = tuple(_DISTRIBUTION)
_PATHS = ("pickled_model", "data", "model_data", "code")  # options of a flavor that name files
_SAFE_FALLBACK = {"catboost": "mlflow.catboost"}  # reads the library's own format: flavor, MLflow's loader
_DTYPES = {
    "bool": "boolean", "int8": "integer", "int16": "integer", "int32": "integer", "int64": "long",
    "float32": "float", "float64": "double", "object": "string", "str": "string",
}  # fmt: skip


@dataclass(frozen=True)
class ModelFolder:
    """The parts of an MLmodel file that scoring needs; ``pyfunc_loader`` is the module that MLflow would load
    it with."""

    path: Path
    flavor: str
    options: Mapping[str, Any]
    inputs: tuple[ModelColumn, ...]
    outputs: tuple[ModelColumn, ...]
    pyfunc_loader: str
    runs_own_code: bool


def read_folder(path: Path, uri: str) -> ModelFolder:
    """Read and check the MLmodel file.

    Raises:
        ModelUnavailable: it is not there or cannot be read.
        ConfigInvalid: the model has no signature, one that names no columns, or files beyond its folder.
    """
    try:
        body = yaml.safe_load((path / "MLmodel").read_text("utf-8"))
        flavors = {str(name): dict(options or {}) for name, options in dict(body["flavors"]).items()}
        signature = dict(body.get("signature") or {})
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelUnavailable(
            f"model.uri: {uri!r} holds no readable MLmodel file ({type(error).__name__}).",
            hint="Give the folder or URI of a model that MLflow saved.",
        ) from error
    for options in flavors.values():
        _keep_inside(options, uri)
    pyfunc = flavors.pop("python_function", {})
    flavor = next((f for f in _NATIVE if f in flavors), next(iter(flavors), "python_function"))
    options = flavors.get(flavor, {})
    inputs = _columns(signature.get("inputs"), uri, "inputs")
    outputs = _columns(signature.get("outputs"), uri, "outputs")
    own_code = bool(options.get("code") or pyfunc.get("code"))
    return ModelFolder(path, flavor, options, inputs, outputs, str(pyfunc.get("loader_module")), own_code)


def _keep_inside(options: Mapping[str, Any], uri: str) -> None:
    """What lies outside of the folder is not covered by its digest."""
    for key in _PATHS:
        parts = PurePosixPath(str(options.get(key) or "")).parts
        if parts and (parts[0] == "/" or ".." in parts):
            raise ConfigInvalid(
                f"model.uri: {uri!r} says {key}: {options[key]!r}, which is outside of the model's folder.",
                hint="No model that MLflow logs does this: find out who changed it.",
            )


def _columns(text: str | None, uri: str, part: str) -> tuple[ModelColumn, ...]:
    if not text:
        raise ConfigInvalid(
            f"model.uri: {uri!r} has no signature {part}, so that its columns and types are not known.",
            hint="Log it again with mlflow.models.infer_signature(X, model.predict(X)) as its signature, or add one "
            "with mlflow.models.set_signature(uri, signature).",
        )
    specs = _parsed(text, uri)
    if part == "inputs" and any(s["type"] == "tensor" or "name" not in s for s in specs):
        raise ConfigInvalid(
            f"model.uri: the signature of {uri!r} names no input columns (a tensor).",
            hint="Log the model with a signature inferred from a pandas DataFrame.",
        )
    return tuple(_column(s, i, uri) for i, s in enumerate(specs))


def _parsed(text: str, uri: str) -> list[Mapping[str, Any]]:
    try:
        specs = list(json.loads(text))
        for spec in specs:
            _type(spec)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigInvalid(
            f"model.uri: the signature of {uri!r} cannot be read ({error}).",
            hint="Set it again with mlflow.models.set_signature(uri, signature).",
        ) from error
    return specs


def _column(spec: Mapping[str, Any], number: int, uri: str) -> ModelColumn:
    name = spec.get("name") or ("prediction" if number == 0 else f"prediction_{number}")
    kind = _type(spec)
    if kind is None:
        raise ConfigInvalid(
            f"model.uri: {uri!r} declares {name!r} as {spec.get('type')!r}, which cannot be a table column here.",
            hint="Use scalar or array columns in the model's signature.",
        )
    return ModelColumn(name, kind, bool(spec.get("required", True)))


def _type(spec: Mapping[str, Any]) -> str | None:
    kind = spec["type"]
    if kind == "tensor":
        dtype, shape = spec["tensor-spec"]["dtype"], spec["tensor-spec"]["shape"]
        scalar = _DTYPES.get(dtype, "string" if dtype.startswith("<U") else None)
        return scalar if scalar is None or len(shape) < 2 or shape[1] == 1 else f"array<{scalar}>"
    if kind == "array":
        items = _type(spec["items"])
        return None if items is None else f"array<{items}>"
    return kind if kind in {*_DTYPES.values(), "binary", "datetime"} else None


def folder_digest(path: Path) -> str:
    """sha256 over the sorted (relative path, size, sha256) of all files of a model.

    Raises:
        ModelUnavailable: the folder holds links or special files, which could change what they mean.
    """
    lines = []
    for file in sorted(path.rglob("*")):
        if file.is_symlink() or not (file.is_file() or file.is_dir()):
            raise ModelUnavailable(
                f"model: {file.name!r} is a link or a special file.", hint="Log the model again."
            )
        name = str(file.relative_to(path))
        if file.is_file() and name not in _WRITTEN_BY_DOWNLOAD:
            data = file.read_bytes()
            lines.append(f"{name}\t{len(data)}\t{hashlib.sha256(data).hexdigest()}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def pack(path: Path) -> bytes:
    """A tar archive of what predicting needs; the same files give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            name = str(file.relative_to(path))
            if name in _WRITTEN_BY_DOWNLOAD | _NOT_NEEDED_TO_PREDICT:
                continue
            entry = tarfile.TarInfo(name)
            entry.size = file.stat().st_size
            with file.open("rb") as data:
                archive.addfile(entry, data)
    return buffer.getvalue()


def check_format(folder: ModelFolder, uri: str, allow_pickle: bool) -> None:
    """Refuse what can run code while it loads, unless the configuration allows it.

    Raises:
        ConfigInvalid: naming the format.
    """
    if allow_pickle:
        return
    form = _code_running_format(folder)
    if form:
        raise ConfigInvalid(
            f"model.uri: {uri!r} is saved as {form}, which can run any code while it is loaded.",
            hint="Log it again with serialization_format='skops' or in the library's own format, or, if you trust "
            "everyone who can write to the registry, set model.allow_pickle: true.",
        )


def _code_running_format(folder: ModelFolder) -> str | None:
    if folder.runs_own_code:
        return "a model with code of its own"
    if folder.flavor in ("sklearn", "lightgbm"):
        if folder.flavor == "lightgbm" and str(folder.options.get("model_class", "")).endswith("Booster"):
            return None
        form = str(folder.options.get("serialization_format", "cloudpickle"))
        return None if form == "skops" else form
    if folder.flavor in _NATIVE or _SAFE_FALLBACK.get(folder.flavor) == folder.pyfunc_loader:
        return None
    return f"MLflow flavor {folder.flavor!r} (pickle or Python code)"


def check_environment(folder: ModelFolder) -> tuple[str, ...]:
    """Compare the model's pinned requirements with what is installed here.

    Returns:
        At most one warning: which libraries are missing, or differ where that may change a prediction.

    Raises:
        ConfigInvalid: the flavor's own library is missing or of another major version.
    """
    pins = _pins(folder.path / "requirements.txt")
    own = _DISTRIBUTION.get(folder.flavor, "mlflow")
    here = _installed(own) or (_installed("xgboost-cpu") if own == "xgboost" else None)
    wanted = pins.get(own)
    if here is None or (wanted and _major(wanted) != _major(here)):
        raise ConfigInvalid(
            f"model: it was saved with {own} {wanted or '(any version)'}, found {here or 'none'} here.",
            hint=f"pip install '{own}{f'=={wanted}' if wanted else ''}' on the driver and the executors.",
        )
    found = {name: _installed(name) for name in pins} | {own: here}
    told = [
        f"{name} {version} (here: {found[name] or 'not installed'})"
        for name, version in sorted(pins.items())
        if _worth_telling(name, version, found[name], own)
    ]
    return (
        (f"the model was saved with other libraries than are installed here: {', '.join(told)}",)
        if told
        else ()
    )


def saved_with(folder: ModelFolder) -> dict[str, str]:
    """Versions of what can change a prediction or keep a model from loading: Python and the flavor's library."""
    own = _DISTRIBUTION.get(folder.flavor, folder.flavor)
    pins = _pins(folder.path / "requirements.txt")
    library = pins.get(own) or (pins.get("xgboost-cpu") if own == "xgboost" else None)
    return {
        name: found for name, found in (("python", _python(folder.path)), (own, library)) if found is not None
    }


def _python(path: Path) -> str | None:
    """The version in ``python_env.yaml``, which MLflow writes beside every model."""
    try:
        body = yaml.safe_load((path / "python_env.yaml").read_text("utf-8"))
        return str(body["python"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return None


def _worth_telling(name: str, wanted: str, here: str | None, own: str) -> bool:
    """Whether a difference can matter: to no model does MLflow, where the flavor's own library loads it."""
    if here is None:
        return not name.startswith("mlflow") or own == "mlflow"
    return name in (own, "numpy", "scipy", "pandas") and _minor(wanted) != _minor(here)


def _pins(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", path.read_text("utf-8"), re.MULTILINE))


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _major(version: str) -> Sequence[str]:
    return version.split(".")[:1]


def _minor(version: str) -> Sequence[str]:
    return version.split(".")[:2]
