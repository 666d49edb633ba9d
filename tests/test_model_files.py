"""What a model folder says of itself: signature, format, libraries, digest; nothing is loaded here."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import model_files
from pipelines.errors import ConfigInvalid, ModelUnavailable
from pipelines.records import ModelColumn

X = {"type": "double", "name": "x", "required": True}
Y = {"type": "double"}
SKOPS = {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}}
HERE = importlib.metadata.version("scikit-learn")


def folder(path: Path, inputs: Any = (X,), outputs: Any = (Y,), flavors: Any = None, **files: str) -> Path:
    """A model folder as MLflow lays it out; ``files`` have ``__`` for dots."""
    path.mkdir(parents=True)
    signature = {k: json.dumps(v) for k, v in (("inputs", inputs), ("outputs", outputs)) if v is not None}
    body = {"flavors": {"python_function": {"loader_module": "mlflow.sklearn"}, **(flavors or SKOPS)}}
    (path / "MLmodel").write_text(yaml.safe_dump({**body, "signature": signature or None}))
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def tensor(dtype: str, *shape: int, name: str | None = None) -> dict[str, Any]:
    spec = {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}
    return spec if name is None else {**spec, "name": name}


def read(path: Path) -> model_files.ModelFolder:
    return model_files.read_folder(path, "models:/m/1")


@pytest.mark.parametrize(
    "kind", ["boolean", "integer", "long", "float", "double", "string", "binary", "datetime"]
)
def test_every_scalar_type_of_a_signature_is_understood(tmp_path, kind):
    found = read(folder(tmp_path / "m", [{"type": kind, "name": "a b.c", "required": False}]))
    assert found.inputs == (ModelColumn("a b.c", kind, required=False),)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"type": "array", "items": {"type": "long"}}, "array<long>"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "string"}}}, "array<array<string>>"),
    ],
)
def test_array_columns_are_understood_at_any_depth(tmp_path, spec, expected):
    assert read(folder(tmp_path / "m", [{**spec, "name": "x"}])).inputs[0].type == expected


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([tensor("int64", -1)], {"prediction": "long"}),
        ([tensor("float32", -1, 1)], {"prediction": "float"}),
        ([tensor("float64", -1, 3)], {"prediction": "array<double>"}),
        ([tensor("<U9", -1)], {"prediction": "string"}),
        ([tensor("object", -1)], {"prediction": "string"}),
        ([Y, {"type": "string"}], {"prediction": "double", "prediction_1": "string"}),
        ([{**Y, "name": "a"}, {"type": "string", "name": "b"}], {"a": "double", "b": "string"}),
        ([tensor("int64", -1, name="label")], {"label": "long"}),
    ],
)
def test_outputs_without_names_get_ours(tmp_path, outputs, expected):
    assert {c.name: c.type for c in read(folder(tmp_path / "m", outputs=outputs)).outputs} == expected


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (None, None, "no signature inputs.*infer_signature.*set_signature"),
        ([X], None, "no signature outputs.*infer_signature.*set_signature"),
        ([tensor("float64", -1, 4)], [Y], "names no input columns .a tensor.*pandas DataFrame"),
        ([{"type": "double"}], [Y], "names no input columns"),
        ([X], [tensor("complex128", -1)], "declares 'prediction' as 'tensor'"),
        ([{"type": "map", "values": {"type": "long"}, "name": "m"}], [Y], "declares 'm' as 'map'"),
        ([{"type": "object", "properties": {}, "name": "o"}], [Y], "declares 'o' as 'object'"),
    ],
)
def test_a_signature_that_gives_no_table_is_refused_with_a_remedy(tmp_path, inputs, outputs, message):
    with pytest.raises(ConfigInvalid, match=f"(?s)models:/m/1.*{message}"):
        read(folder(tmp_path / "m", inputs, outputs))


def test_a_signature_that_is_no_json_is_refused_in_words(tmp_path):
    path = folder(tmp_path / "m")
    body = yaml.safe_load((path / "MLmodel").read_text())
    (path / "MLmodel").write_text(yaml.safe_dump({**body, "signature": {"inputs": "[{", "outputs": "[]"}}))
    with pytest.raises(ConfigInvalid, match="signature of 'models:/m/1' cannot be read"):
        read(path)


@pytest.mark.parametrize("text", [None, "", "flavors", "flavors: [", "a: 1", "- 1"])
def test_a_folder_without_a_readable_mlmodel_is_no_model(tmp_path, text):
    if text is not None:
        (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(ModelUnavailable, match="no readable MLmodel"):
        read(tmp_path)


NATIVE = {"data": "model.ubj", "model_class": "xgboost.core.Booster"}
FORMATS = [
    (SKOPS, None),
    ({"sklearn": {"serialization_format": "cloudpickle"}}, "cloudpickle"),
    ({"sklearn": {"serialization_format": "pickle"}}, "pickle"),
    ({"sklearn": {}}, "cloudpickle"),
    ({"sklearn": {**SKOPS["sklearn"], "code": "code"}}, "a model with code of its own"),
    ({"xgboost": NATIVE}, None),
    ({"xgboost": {**NATIVE, "code": "code"}}, "a model with code of its own"),
    ({"onnx": {"data": "model.onnx"}}, None),
    ({"lightgbm": {"model_class": "lightgbm.basic.Booster"}}, None),
    ({"lightgbm": {"model_class": "lightgbm.sklearn.LGBMClassifier"}}, "cloudpickle"),
    ({"lightgbm": {"model_class": "lightgbm.sklearn.LGBMClassifier", "serialization_format": "skops"}}, None),
    ({"catboost": {}, "python_function": {"loader_module": "mlflow.catboost"}}, None),
    (
        {"catboost": {}, "python_function": {"loader_module": "mlflow.pyfunc.model"}},
        "MLflow flavor 'catboost'",
    ),
    (
        {"catboost": {}, "python_function": {"loader_module": "mlflow.catboost", "code": "c"}},
        "code of its own",
    ),
    ({"python_function": {"loader_module": "mlflow.pyfunc.model"}}, "MLflow flavor 'python_function'"),
    ({"pytorch": {}}, "MLflow flavor 'pytorch'"),
]


@pytest.mark.parametrize(("flavors", "refused_as"), FORMATS)
def test_what_can_run_code_while_it_loads_is_refused_unless_allowed(tmp_path, flavors, refused_as):
    found = read(folder(tmp_path / "m", flavors=flavors))
    model_files.check_format(found, "models:/m/1", allow_pickle=True)
    if refused_as is None:
        model_files.check_format(found, "models:/m/1", allow_pickle=False)
        return
    with pytest.raises(
        ConfigInvalid, match=f"saved as .*{refused_as}.*skops.*model.allow_pickle: true"
    ) as caught:
        model_files.check_format(found, "models:/m/1", allow_pickle=False)
    assert caught.value.exit_code == 78


MAJOR, MINOR, *_ = HERE.split(".")
REQUIREMENTS = [
    (None, None, None),
    (f"scikit-learn=={HERE}\nmlflow==1.0\n", None, None),
    (
        f"scikit-learn=={MAJOR}.{int(MINOR) + 1}.0\n",
        None,
        f"scikit-learn {MAJOR}.{int(MINOR) + 1}.0 .here: {HERE}",
    ),
    (f"scikit-learn=={int(MAJOR) + 1}.0\n", f"scikit-learn {int(MAJOR) + 1}.0, found {HERE}", None),
    ("numpy==0.1\n", None, "numpy 0.1 "),
    ("click==0.1\n", None, None),
    ("no-such-library==3.2 ; python_version > '3'\n", None, "no-such-library 3.2 .here: not installed"),
    ("scikit-learn\n-e .\ngit+https://x/y\n", None, None),
]


@pytest.mark.parametrize(("text", "error", "warning"), REQUIREMENTS)
def test_libraries_that_matter_and_differ_are_errors_or_warnings(tmp_path, text, error, warning):
    found = read(folder(tmp_path / "m", **({} if text is None else {"requirements__txt": text})))
    if error:
        with pytest.raises(ConfigInvalid, match=f"{error}.*pip install 'scikit-learn==.*executors"):
            model_files.check_environment(found)
        return
    warnings = model_files.check_environment(found)
    assert len(warnings) == (warning is not None)
    if warning:
        assert re.search(warning, warnings[0])


def test_a_flavor_whose_library_is_not_installed_is_an_error(tmp_path, monkeypatch):
    real = importlib.metadata.version

    def without_lightgbm(name: str) -> str:
        if name == "lightgbm":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", without_lightgbm)
    found = read(folder(tmp_path / "m", flavors={"lightgbm": {}}, requirements__txt="lightgbm==4.5.0"))
    with pytest.raises(
        ConfigInvalid, match=r"lightgbm 4\.5\.0, found none here.*pip install 'lightgbm==4\.5\.0'"
    ):
        model_files.check_environment(found)


def test_the_digest_is_that_of_the_content(tmp_path):
    first, second = (folder(tmp_path / n, model__skops="abc", requirements__txt="x==1") for n in "ab")
    digest = model_files.folder_digest(first)
    os.utime(second / "model.skops", (1, 1))
    (second / "empty").mkdir()
    assert model_files.folder_digest(second) == digest
    (second / "registered_model_meta").write_text("written by the client into its copy")
    assert model_files.folder_digest(second) == digest


@pytest.mark.parametrize(
    "change",
    [
        lambda p: (p / "model.skops").write_text("abd"),
        lambda p: (p / "model.skops").write_text("abcd"),
        lambda p: (p / "model.skops").rename(p / "other.skops"),
        lambda p: (p / "more").write_text(""),
        lambda p: (p / "model.skops").unlink(),
        lambda p: (p / "MLmodel").write_text((p / "MLmodel").read_text() + "\n"),
        lambda p: ((p / "sub").mkdir(), (p / "sub" / "registered_model_meta").write_text("not the client's")),
    ],
)
def test_any_change_to_any_file_changes_the_digest(tmp_path, change):
    path = folder(tmp_path / "m", model__skops="abc")
    before = model_files.folder_digest(path)
    change(path)
    assert model_files.folder_digest(path) != before


@pytest.mark.parametrize(
    "make", [lambda p: p.symlink_to("/etc/hostname"), lambda p: p.symlink_to(".."), os.mkfifo]
)
def test_links_and_special_files_have_no_digest(tmp_path, make):
    path = folder(tmp_path / "m")
    make(path / "odd")
    with pytest.raises(ModelUnavailable, match="'odd' is a link or a special file"):
        model_files.folder_digest(path)


def test_the_archive_holds_what_predicting_needs_and_is_the_same_for_the_same_files(tmp_path):
    def one(name: str) -> Path:
        path = folder(tmp_path / name, model__skops="abc", conda__yaml="x", input_example__json="{}")
        (path / model_files.BASELINE).write_text("{}")
        (path / "artifacts").mkdir()
        (path / "artifacts" / "conda.yaml").write_text("the model's own")
        return path

    data = model_files.pack(one("a"))
    os.utime(one("b") / "model.skops", (1, 1))
    assert model_files.pack(tmp_path / "b") == data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["MLmodel", "artifacts/conda.yaml", "model.skops"]
