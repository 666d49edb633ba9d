"""A faster form of a model gives the model's own answers, or it is not used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import model_factory
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import threadpoolctl

from pipelines import registry
from pipelines.config import Model
from pipelines.profiles import ColumnSpec, free_spec
from pipelines.records import ModelColumn
from pipelines.scoring import Scorer, WorkerState, compiled, loaders, merge_states, output_columns
from pipelines.scoring.compiled import BITVECTORS, Form, NoForm, choose, difference, form_of, sample_of
from pipelines.scoring.worker import STATE, run


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """As in a worker."""
    with threadpoolctl.threadpool_limits(1):
        yield


NAMES = ("a", "b", "c d")
INPUTS = tuple(ModelColumn(n, "double") for n in NAMES)
HOLES, FULL = "with NaN in training", "without NaN in training"


def table(rows: int, seed: int, missing: float = 0.1) -> pd.DataFrame:
    """As a worker has it: by column, with NaN, infinities and repeated values."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(3, rows)).round(2)
    values[rng.random(values.shape) < missing] = np.nan
    if missing:
        values[0, :4] = [np.inf, -np.inf, 0.0, -0.0]
    return pd.DataFrame(values.T, columns=list(NAMES), copy=False)


def labels(frame: pd.DataFrame, classes: int) -> np.ndarray:
    values = frame.fillna(0.3).clip(-9, 9)
    return np.digitize(values["a"] * values["b"] + values["c d"], np.linspace(-1, 1, classes + 1)[1:-1])


def fitted(kind: str, holes: str) -> Any:
    train = table(600, 1, 0.1 if holes == HOLES else 0.0)
    binary, number = labels(train, 2), train.fillna(0.3).clip(-9, 9).sum(axis=1)
    if kind.startswith("hist"):
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        return {
            "hist binary": lambda: HistGradientBoostingClassifier(max_iter=20).fit(train, binary),
            "hist texts": lambda: HistGradientBoostingClassifier(max_iter=20).fit(
                train, np.array(["no", "yes"])[binary]
            ),
            "hist classes": lambda: HistGradientBoostingClassifier(
                max_iter=15, min_samples_leaf=5, max_leaf_nodes=50
            ).fit(train, labels(train, 4)),
            "hist number": lambda: HistGradientBoostingRegressor(max_iter=30).fit(train, number),
            "hist poisson": lambda: HistGradientBoostingRegressor(max_iter=20, loss="poisson").fit(
                train, number.abs()
            ),
        }[kind]()
    lightgbm = pytest.importorskip("lightgbm")
    quiet = {"verbose": -1, "n_jobs": 1}
    data = lightgbm.Dataset(train.to_numpy(), binary)
    return {
        "lightgbm binary": lambda: lightgbm.LGBMClassifier(n_estimators=20, **quiet).fit(
            train.to_numpy(), binary
        ),
        "lightgbm number": lambda: lightgbm.LGBMRegressor(n_estimators=20, num_leaves=50, **quiet).fit(
            train.to_numpy(), number
        ),
        "lightgbm booster": lambda: lightgbm.train({"objective": "binary", **quiet}, data, 20),
    }[kind]()


EXACT = {
    "hist binary": ("predict", "predict_proba", "decision_function"),
    "hist texts": ("predict", "predict_proba"),
    "hist classes": ("predict", "predict_proba", "decision_function"),
    "hist number": ("predict",),
    "hist poisson": ("predict",),
    "lightgbm number": ("predict",),
}
CLOSE = {"lightgbm binary": ("predict", "predict_proba"), "lightgbm booster": ("predict",)}


@pytest.mark.parametrize(
    ("kind", "holes"),
    [*((k, HOLES) for k in {**EXACT, **CLOSE}), ("hist binary", FULL), ("lightgbm binary", FULL)],
)
def test_the_other_form_answers_as_the_model_does_whatever_comes(kind, holes):
    model, unseen = fitted(kind, holes), table(3001, 2)
    for method in {**EXACT, **CLOSE}[kind]:
        own = getattr(model, method)
        predict, verdict = choose(model, own, method, INPUTS, (), 1e-6)
        assert verdict["form"] == BITVECTORS, verdict
        assert verdict["checked_rows"] == compiled.ROWS
        for frame in (unseen, unseen.iloc[:1], unseen.astype("float32")):
            found, wanted = predict(frame), own(frame)
            assert found.dtype == wanted.dtype
            if kind in EXACT or (method == "predict" and hasattr(model, "classes_")):
                assert np.array_equal(found, wanted)
            else:  # the exponential function may round its last bit differently
                assert np.abs(found - wanted).max() < 1e-15
                assert np.array_equal(found > 0.5, wanted > 0.5)
        assert verdict["max_difference"] <= (0.0 if kind in EXACT else 1e-15)


def test_many_trees_are_summed_in_their_order():
    from sklearn.ensemble import HistGradientBoostingClassifier

    train = table(800, 1)
    model = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.05).fit(train, labels(train, 3))
    predict, verdict = choose(model, model.decision_function, "decision_function", INPUTS, (), 0.0)
    assert verdict["max_difference"] == 0.0
    assert np.array_equal(predict(table(2500, 3)), model.decision_function(table(2500, 3)))


@pytest.mark.parametrize("wrong", ["labels", "probabilities", "shape", "raises"])
def test_a_form_that_differs_on_the_sample_is_refused_and_the_original_stays(monkeypatch, wrong):
    model = fitted("hist binary", HOLES)
    method = "predict" if wrong == "labels" else "predict_proba"
    own = getattr(model, method)

    def spoiled(frame: Any) -> Any:
        result = own(frame)
        if wrong == "labels":
            result[len(result) // 2] ^= 1
        elif wrong == "probabilities":
            result[-1] += [1e-5, -1e-5]
        elif wrong == "shape":
            return result[:, :1]
        else:
            raise ValueError(wrong)
        return result

    monkeypatch.setattr(compiled, "form_of", lambda *_: Form("spoiled", spoiled, {}))
    predict, verdict = choose(model, own, method, INPUTS, (), 1e-6)
    assert predict is own
    assert verdict["form"] is None
    assert ("cannot be scored" if wrong == "raises" else "differ by") in verdict["reason"]
    if wrong == "probabilities":
        assert choose(model, own, method, INPUTS, (), 1e-4)[1]["form"] == "spoiled"


def test_labels_must_be_the_same_however_large_the_tolerance():
    near, same = np.array([[0.5, 0.4999999]]), np.array([[0.4999999, 0.5]])
    assert difference(near, same, "predict_proba", labels=False) == np.inf
    assert difference(np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1e-12]), "predict", labels=True) == np.inf
    assert difference(np.array([np.nan, 1.0]), np.array([0.0, 1.0]), "predict", labels=False) == np.inf
    assert difference(np.array([2e9]), np.array([2e9 + 1]), "predict", labels=False) == 5e-10


def test_models_without_another_form_say_why():
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    train = table(500, 1)
    y = labels(train, 2)
    cases = [
        (LogisticRegression(), INPUTS, "LogisticRegression has no faster form"),
        (HistGradientBoostingClassifier(max_iter=2, max_depth=1), INPUTS, "would not be faster"),
        (
            HistGradientBoostingClassifier(max_iter=5, max_leaf_nodes=90, min_samples_leaf=1),
            INPUTS,
            "more than 64 leaves",
        ),
        (HistGradientBoostingClassifier(max_iter=5, categorical_features=[0]), INPUTS, "categorical inputs"),
        (
            HistGradientBoostingClassifier(),
            (ModelColumn("a", "long", required=False), *INPUTS[1:]),
            "no plain",
        ),
    ]
    train["a"] = train["a"].clip(-2, 2).round() + 2
    for model, inputs, reason in cases:
        with pytest.raises(NoForm, match=reason):
            form_of(model.fit(train.fillna(0), y), "predict", inputs)


def test_the_sample_is_the_same_each_time_and_holds_what_decides():
    edges = tuple(float(n) for n in range(50))
    specs = (ColumnSpec("a", "numeric", "double", edges=edges), free_spec("b", "double"))
    points = {1: np.array([0.25, np.inf])}
    one, two = (sample_of(INPUTS, points, specs) for _ in range(2))
    assert all(x.equals(y) or x.to_pandas().equals(y.to_pandas()) for x, y in zip(one, two, strict=True))
    assert set(edges) <= set(one[0].to_pylist())
    assert {0.25, np.nextafter(0.25, 1), np.nextafter(0.25, 0), 1e30, -1e30} <= set(one[1].to_pylist())
    assert all(np.isnan(c.to_numpy()).any() for c in one)
    assert sample_of((ModelColumn("n", "integer"),), {}, ())[0].type == pa.int32()


def state_of(tmp_path: Any, tolerance: float | None) -> tuple[list[Any], WorkerState]:
    """Predictions and the account of a worker that loads the model from its bytes."""
    model = fitted("hist binary", HOLES)
    signed = model_factory.signature(dict.fromkeys(NAMES, "double"), {None: "long"})
    uri = model_factory.save(model, tmp_path / f"m{tolerance}", signed)
    found = registry.resolve(Model(uri=uri, allow_pickle=True), "http://127.0.0.1:1")
    scorer = Scorer(
        found, "predict", output_columns("predict", found.outputs), (), compile_tolerance=tolerance
    )
    columns = tuple(pa.array(table(500, 4)[n]) for n in NAMES)
    loaders._cache.clear()
    rows = [
        r for part in run(scorer.task(), lambda: found.payload, iter([columns])) for r in part.to_pylist()
    ]
    assert [r["prediction"] for r in rows] == model.predict(table(500, 4)).tolist()
    return rows, WorkerState.from_bytes(rows[-1][STATE])


def test_a_worker_says_in_its_account_which_form_it_used_and_off_is_off(tmp_path):
    (_, on), (_, off) = state_of(tmp_path, 1e-6), state_of(tmp_path, None)
    assert [json.loads(f) for f in on.forms] == [
        {"form": BITVECTORS, "checked_rows": compiled.ROWS, "max_difference": 0.0}
    ]
    assert [json.loads(f) for f in off.forms] == [{"form": None, "reason": "off"}]
    assert merge_states([on, on]).forms == on.forms
    assert len(merge_states([on, off]).forms) == 2
