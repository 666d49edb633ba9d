"""Every flavor loads from the bytes that are shipped, without MLflow, and predicts what its own library predicts."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import model_factory
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines import failures, registry
from pipelines.config import Model
from pipelines.errors import ConfigInvalid, ModelFailed
from pipelines.records import ModelColumn
from pipelines.scoring import output_columns
from pipelines.scoring.account import ModelFailedHere, Task
from pipelines.scoring.loaders import ModelSpec
from pipelines.scoring.worker import run

rng = np.random.default_rng(11)
X = pd.DataFrame(rng.normal(size=(80, 3)), columns=["a", "b c", "d.e"])
Y = (X["a"] + X["b c"] > 0).astype("int64")
INPUTS = dict.fromkeys(X.columns, "double")
LABEL = model_factory.signature(INPUTS, {None: "long"})
SCORE = model_factory.signature(INPUTS, {None: "double"})
QUIET = {"pip_requirements": []}


BATCHES = ((0, 1), (1, 50), (50, 80))
TREES = ("sklearn.tree._tree.Tree",)


@pytest.fixture(autouse=True)
def spark_s_folder(tmp_path, monkeypatch):
    """Where Spark has its workers put what it removes at its end."""
    (tmp_path / "spark").mkdir()
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path / "spark"))


def resolved(uri: str, *, allow_pickle: bool = False) -> Any:
    return registry.resolve(Model(uri=uri, allow_pickle=allow_pickle), "http://127.0.0.1:1")


def worker(
    model: Any, method: str, frame: pd.DataFrame = X, trusted: tuple[str, ...] = ()
) -> dict[str, list[Any]]:
    """Score ``frame`` as a worker does, from the resolved model's own bytes; in three uneven batches."""
    spec = ModelSpec(
        model.digest + str(trusted), hashlib.sha256(model.payload).hexdigest(), model.flavor, method,
        dict(model.flavor_options), trusted,
    )  # fmt: skip
    outputs = output_columns(method, model.outputs)
    columns = [pa.array(frame[c.name], pa.float64()) for c in model.inputs]
    parts = ([c.slice(a, b - a) for c in columns] for a, b in BATCHES)
    batches = (tuple(p) for p in parts if len(p[0]))
    rows = [
        r
        for part in run(Task(spec, model.inputs, outputs, ()), lambda: model.payload, batches)
        for r in part.to_pylist()
    ]
    return {c.name: [r[c.name] for r in rows] for c in outputs}


def own(method: Any, frame: pd.DataFrame = X) -> list[Any]:
    """What the library itself gives for the same batches: BLAS rounds the last bit by the shape of a batch."""
    columns = pd.DataFrame({n: frame[n] for n in frame})  # by column, as every table that was read is
    return [v for a, b in BATCHES for v in np.asarray(method(columns.iloc[a:b])).tolist()]


def sklearn_model(kind: str) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "linear": LogisticRegression(),
        "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
        "forest": RandomForestClassifier(5, random_state=1),
        "boosting": HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5),
    }[kind].fit(X, Y)


@pytest.mark.parametrize("kind", ["linear", "pipeline", "forest"])
def test_sklearn_from_skops_predicts_what_sklearn_predicts(tmp_path, kind):
    model = sklearn_model(kind)
    trusted = TREES if kind == "forest" else ()
    found = resolved(
        model_factory.save(model, tmp_path / "m", LABEL, "skops", skops_trusted_types=list(trusted))
    )
    assert worker(found, "predict", X, trusted)["prediction"] == model.predict(X).tolist()
    both = worker(found, "predict_proba", X, trusted)
    assert both["probability"] == own(model.predict_proba)
    assert both["prediction"] == model.predict(X).tolist()


def test_decisions_come_as_arrays(tmp_path):
    model = sklearn_model("linear")
    found = resolved(model_factory.save(model, tmp_path / "m", LABEL, "skops"))
    assert worker(found, "decision_function")["prediction"] == [[v] for v in own(model.decision_function)]


@pytest.mark.parametrize("form", ["pickle", "cloudpickle"])
def test_sklearn_from_pickle_predicts_the_same_where_it_is_allowed(tmp_path, form):
    model = sklearn_model("boosting")
    uri = model_factory.save(model, tmp_path / "m", LABEL, form)
    with pytest.raises(ConfigInvalid, match=f"saved as {form}"):
        resolved(uri)
    assert worker(resolved(uri, allow_pickle=True), "predict")["prediction"] == model.predict(X).tolist()


def test_a_classifier_of_texts_labels_with_texts(tmp_path):
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(X, np.where(Y == 1, "yes", "no"))
    signed = model_factory.signature(INPUTS, {None: "string"})
    found = resolved(model_factory.save(model, tmp_path / "m", signed, "skops"))
    both = worker(found, "predict_proba")
    assert both["prediction"] == model.predict(X).tolist() == worker(found, "predict")["prediction"]


NEIGHBOURS = ("sklearn.metrics._dist_metrics.EuclideanDistance64", "sklearn.neighbors._kd_tree.KDTree")


def test_types_that_skops_does_not_trust_are_listed_and_pass_where_they_are_trusted(tmp_path):
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(3).fit(X, Y)
    uri = model_factory.save(model, tmp_path / "m", LABEL, "skops", skops_trusted_types=list(NEIGHBOURS))
    found = resolved(uri)
    with pytest.raises(
        ModelFailedHere, match=r"cannot be loaded.*Untrusted types.*EuclideanDistance64.*KDTree"
    ) as caught:
        worker(found, "predict")
    with pytest.raises(ConfigInvalid, match=r"not trusted: \[.*KDTree.*\].*model\.trusted_types") as told:
        raise failures._of_spark(f"Job aborted ... {caught.value} ... at org.apache.spark")
    assert told.value.exit_code == 78
    assert worker(found, "predict", trusted=NEIGHBOURS)["prediction"] == model.predict(X).tolist()


def test_a_lightgbm_booster_predicts_what_lightgbm_predicts(tmp_path):
    lightgbm = pytest.importorskip("lightgbm")
    import mlflow.lightgbm

    booster = lightgbm.train(
        {"objective": "binary", "verbose": -1, "min_data_in_leaf": 3}, lightgbm.Dataset(X.to_numpy(), Y), 5
    )
    mlflow.lightgbm.save_model(booster, str(tmp_path / "m"), signature=SCORE, **QUIET)
    found = resolved(str(tmp_path / "m"))
    assert found.flavor == "lightgbm"
    assert worker(found, "predict")["prediction"] == booster.predict(X).tolist()


def test_a_lightgbm_classifier_predicts_labels_and_probabilities_once_its_types_are_trusted(tmp_path):
    lightgbm = pytest.importorskip("lightgbm")
    import mlflow.lightgbm

    trusted = ("collections.OrderedDict", "lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier")
    model = lightgbm.LGBMClassifier(n_estimators=5, min_child_samples=3, verbose=-1).fit(X.to_numpy(), Y)
    mlflow.lightgbm.save_model(
        model, str(tmp_path / "m"), signature=LABEL, skops_trusted_types=list(trusted), **QUIET
    )
    if not list((tmp_path / "m").glob("*.skops")):
        pytest.skip("this MLflow saves LightGBM's wrappers with cloudpickle only")
    found = resolved(str(tmp_path / "m"))
    with pytest.raises(ModelFailedHere, match=r"Untrusted types.*LGBMClassifier"):
        worker(found, "predict")
    assert worker(found, "predict", X, trusted)["prediction"] == model.predict(X.to_numpy()).tolist()
    assert (
        worker(found, "predict_proba", X, trusted)["probability"]
        == model.predict_proba(X.to_numpy()).tolist()
    )


@pytest.mark.parametrize("kind", ["Booster", "XGBClassifier", "XGBRegressor"])
def test_xgboost_predicts_what_xgboost_predicts(tmp_path, kind):
    xgboost = pytest.importorskip("xgboost")
    import mlflow.xgboost

    if kind == "Booster":
        model = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(X, Y), 4)
        expected = model.predict(xgboost.DMatrix(X))
    else:
        model = getattr(xgboost, kind)(n_estimators=4).fit(X, Y)
        expected = model.predict(X)
    signed = LABEL if kind == "XGBClassifier" else model_factory.signature(INPUTS, {None: "float"})
    mlflow.xgboost.save_model(model, str(tmp_path / "m"), signature=signed, **QUIET)
    found = resolved(str(tmp_path / "m"))
    assert found.flavor == "xgboost"
    assert worker(found, "predict")["prediction"] == expected.tolist()
    if kind == "XGBClassifier":
        assert worker(found, "predict_proba")["probability"] == model.predict_proba(X).astype(float).tolist()


@pytest.mark.parametrize("one_matrix", [True, False])
def test_onnx_predicts_what_the_runtime_predicts(tmp_path, one_matrix):
    onnxruntime = pytest.importorskip("onnxruntime")
    skl2onnx = pytest.importorskip("skl2onnx")
    import mlflow.onnx
    from skl2onnx.common.data_types import DoubleTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    frame = X.rename(columns={"b c": "b", "d.e": "d"})
    if one_matrix:
        model, types = LinearRegression().fit(frame, Y), [("X", DoubleTensorType([None, 3]))]
    else:
        keep = ColumnTransformer([("keep", "passthrough", list(frame))])
        model = make_pipeline(keep, LinearRegression()).fit(frame, Y)
        types = [(n, DoubleTensorType([None, 1])) for n in frame]
    converted = skl2onnx.to_onnx(model, initial_types=types)
    signed = model_factory.signature(dict.fromkeys(frame, "double"), {None: "double"})
    mlflow.onnx.save_model(converted, str(tmp_path / "m"), signature=signed, **QUIET)
    runtime = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {"X": frame.to_numpy()} if one_matrix else {n: frame[n].to_numpy().reshape(-1, 1) for n in frame}
    found = worker(resolved(str(tmp_path / "m")), "predict", frame)["prediction"]
    assert found == pytest.approx(runtime.run(None, feed)[0].ravel().tolist(), abs=1e-12)
    assert found == pytest.approx(model.predict(frame).tolist(), abs=1e-9)


def test_an_onnx_classifier_gives_its_labels(tmp_path):
    pytest.importorskip("onnxruntime")
    skl2onnx = pytest.importorskip("skl2onnx")
    import mlflow.onnx

    model = sklearn_model("linear")
    converted = skl2onnx.to_onnx(model, X.to_numpy()[:1], options={"zipmap": False})
    mlflow.onnx.save_model(converted, str(tmp_path / "m"), signature=LABEL, **QUIET)
    assert worker(resolved(str(tmp_path / "m")), "predict")["prediction"] == model.predict(X).tolist()


def test_any_other_model_goes_through_mlflow_s_own_loader(tmp_path):
    import mlflow.pyfunc

    class Scaled(mlflow.pyfunc.PythonModel):
        def load_context(self, context: Any) -> None:
            self.factor = float(Path(context.artifacts["factor"]).read_text())

        def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
            return model_input["a"].to_numpy() * self.factor

    (tmp_path / "conda.yaml").write_text("2.5")  # an artifact may be called anything
    mlflow.pyfunc.save_model(
        str(tmp_path / "m"), python_model=Scaled(), artifacts={"factor": str(tmp_path / "conda.yaml")},
        signature=SCORE, **QUIET,
    )  # fmt: skip
    with pytest.raises(ConfigInvalid, match="pickle or Python code"):
        resolved(str(tmp_path / "m"))
    found = resolved(str(tmp_path / "m"), allow_pickle=True)
    assert found.flavor == "python_function"
    assert worker(found, "predict")["prediction"] == (X["a"] * 2.5).tolist()


def test_a_model_s_own_code_comes_along_where_it_is_allowed(tmp_path):
    (tmp_path / "own_rules.py").write_text(
        "class Threshold:\n    def predict(self, frame):\n        return (frame['a'] > 0).to_numpy('int64')\n"
    )
    save = (
        "import sys, own_rules, mlflow.sklearn\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import model_factory as f\n"
        f"signed = f.signature({INPUTS!r}, {{None: 'long'}})\n"
        "f.save(own_rules.Threshold(), 'm', signed, 'cloudpickle', code_paths=['own_rules.py'])\n"
    )
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-c", save], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(root), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with pytest.raises(ConfigInvalid, match="code of its own"):
        resolved(str(tmp_path / "m"))
    found = resolved(str(tmp_path / "m"), allow_pickle=True)
    assert worker(found, "predict")["prediction"] == (X["a"] > 0).astype(int).tolist()


@pytest.mark.parametrize("method", ["predict_proba", "decision_function"])
def test_a_method_that_a_flavor_has_not_is_a_matter_of_the_configuration(tmp_path, method):
    lightgbm = pytest.importorskip("lightgbm")
    import mlflow.lightgbm

    booster = lightgbm.train({"verbose": -1, "min_data_in_leaf": 3}, lightgbm.Dataset(X.to_numpy(), Y), 1)
    mlflow.lightgbm.save_model(booster, str(tmp_path / "m"), signature=SCORE, **QUIET)
    with pytest.raises(
        ModelFailedHere, match=f"a lightgbm Booster has no {method}; it has predict"
    ) as caught:
        worker(resolved(str(tmp_path / "m")), method)
    assert isinstance(failures._of_spark(str(caught.value)), ConfigInvalid)


def test_a_failure_of_the_model_reaches_the_driver_with_batch_and_reason(tmp_path):
    uri = model_factory.save(model_factory.Fussy([1.0]), tmp_path / "m", SCORE)
    found = replace(
        resolved(uri, allow_pickle=True), inputs=(ModelColumn("k", "double"), ModelColumn("x", "double"))
    )
    with pytest.raises(ModelFailedHere) as caught:
        worker(found, "predict", pd.DataFrame({"k": [0.0] * 9, "x": [1.0] * 9}))
    told = failures._of_spark(f"org.apache.spark.SparkException: Job aborted: {caught.value}\n  at x")
    assert isinstance(told, ModelFailed)
    assert "ValueError: cannot score 1.0" in str(told)
