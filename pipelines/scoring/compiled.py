"""Another form of the same model, used where it is faster and gives the same answers on a sample.

The sample follows from the model, its signature and its baseline alone: every worker of a run, and of a rerun, comes
to the same verdict.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.profiles import ColumnSpec
from pipelines.records import ModelColumn
from pipelines.scoring.frames import to_frame
from pipelines.scoring.trees import LEAVES, Forest, Tree

Predict = Callable[[Any], Any]
ROWS = 4096  # of the sample
BITVECTORS = "tree bitvectors"
_ARROW = {"float": pa.float32(), "double": pa.float64(), "integer": pa.int32(), "long": pa.int64()}
_LARGEST_TABLES = 64 << 20  # bytes
_FAR = 1e30
_LIGHTGBM_ZERO = np.float64(np.float32(1e-35))  # LightGBM takes what is no larger for zero


class NoForm(Exception):
    """This model has no other form; the message says why."""


@dataclass(frozen=True)
class Form:
    """``points``: by input's place, the values at which an answer changes."""

    name: str
    predict: Predict
    points: Mapping[int, Any]


def choose(
    estimator: Any,
    predict: Predict,
    method: str,
    inputs: Sequence[ModelColumn],
    specs: Sequence[ColumnSpec],
    tolerance: float,
) -> tuple[Predict, dict[str, Any]]:
    """How to predict, and the verdict: ``form``, ``checked_rows`` and ``max_difference``, or the ``reason`` for none.

    Args:
        estimator: the loaded object whose ``method`` is ``predict``.
        specs: of the baseline; the edges of its bins are reference values.
        tolerance: largest difference of a number that is no label, relative where it is above 1.
    """
    try:
        form = form_of(estimator, method, inputs)
    except NoForm as reason:
        return predict, {"form": None, "reason": str(reason)}
    sample = to_frame(inputs, sample_of(inputs, form.points, specs))
    try:
        wanted, found = (np.asarray(f(sample)) for f in (predict, form.predict))
    except Exception as error:  # whatever a library raises: rows decide over that, not a sample
        return predict, {"form": None, "reason": f"the sample cannot be scored: {type(error).__name__}"}
    labels = method == "predict" and hasattr(estimator, "classes_")
    far = difference(wanted, found, method, labels)
    if far > tolerance:
        return predict, {"form": None, "reason": f"its {form.name} differ by {far:.3g} on the sample"}
    return form.predict, {"form": form.name, "checked_rows": ROWS, "max_difference": far}


def difference(wanted: Any, found: Any, method: str, labels: bool) -> float:
    """The largest difference of two results, infinite where a label is another one."""
    if wanted.shape != found.shape or wanted.dtype != found.dtype:
        return float("inf")
    if labels or wanted.dtype.kind != "f":
        return 0.0 if np.array_equal(wanted, found) else float("inf")
    if method == "predict_proba" and not np.array_equal(wanted.argmax(axis=1), found.argmax(axis=1)):
        return float("inf")
    if not np.array_equal(np.isfinite(wanted), np.isfinite(found)):
        return float("inf")
    gaps = np.abs(wanted - found) / np.maximum(1.0, np.abs(wanted))
    return float(np.max(gaps, where=np.isfinite(wanted), initial=0.0))


def sample_of(
    inputs: Sequence[ModelColumn], points: Mapping[int, Any], specs: Sequence[ColumnSpec]
) -> list[pa.Array]:
    """Rows of reference values, of the points where answers change and their neighbours, of extremes and NaN."""
    rng = np.random.default_rng(0)
    edges = {s.name: s.edge_array for s in specs}
    return [_column(c, rng, points.get(i, ()), edges.get(c.name, ())) for i, c in enumerate(inputs)]


def _column(wanted: ModelColumn, rng: Any, points: Any, edges: Any) -> pa.Array:
    points = np.asarray(points, np.float64)
    near = [points, np.nextafter(points, -np.inf), np.nextafter(points, np.inf)]
    pool = np.concatenate([*near, np.asarray(edges, np.float64)])
    pool = pool[np.isfinite(pool)]
    usual = rng.choice(pool, ROWS) if len(pool) else rng.normal(size=ROWS)
    spread = np.clip(pool, -_FAR, _FAR).std() if len(pool) else 1.0
    usual += np.where(rng.random(ROWS) < 0.3, rng.normal(size=ROWS) * spread, 0.0)
    odd = rng.choice([0.0, -0.0, 1e9, -1e9, _FAR, -_FAR], ROWS)
    values = np.where(rng.random(ROWS) < 0.05, odd, usual)
    if wanted.type in ("float", "double"):
        missing = rng.random(ROWS) < 0.05
        return pa.array(np.where(missing, np.nan, values)).cast(_ARROW[wanted.type], safe=False)
    limit = float(np.iinfo(np.int32).max)
    return pa.array(np.clip(values, -limit, limit).astype(np.int64)).cast(_ARROW[wanted.type])


def form_of(estimator: Any, method: str, inputs: Sequence[ModelColumn]) -> Form:
    """The other form of a model.

    Raises:
        NoForm: saying why there is none.
    """
    kind = type(estimator).__name__
    make = _MAKERS.get((type(estimator).__module__.partition(".")[0], kind))
    if make is None:
        raise NoForm(f"{kind} has no faster form")
    if any(c.type not in _ARROW or (c.type in ("integer", "long") and not c.required) for c in inputs):
        raise NoForm("an input is no plain number")
    return make(estimator, method)


def _forest(trees: Sequence[Tree], outputs: int) -> Forest:
    if max(t.leaves for t in trees) > LEAVES:
        raise NoForm(f"a tree has more than {LEAVES} leaves")
    if not any(t.leaves > 1 for t in trees) or not Forest.worth_it(trees):
        raise NoForm("its other form would not be faster")
    forest = Forest(trees, outputs)
    if forest.nbytes > _LARGEST_TABLES:
        raise NoForm(f"its tables would have {forest.nbytes >> 20} MB")
    return forest


def _hist_boosting(model: Any, method: str) -> Form:
    """scikit-learn's histogram gradient boosting: its own methods over other sums."""
    if getattr(model, "is_categorical_", None) is not None:
        raise NoForm("it has categorical inputs")
    trees = [_hist_tree(predictor.nodes) for stage in model._predictors for predictor in stage]
    forest = _forest(trees, model.n_trees_per_iteration_)
    start = np.asarray(model._baseline_prediction, np.float64).ravel()
    twin = copy.copy(model)
    twin._raw_predict = lambda frame: forest.sums(frame.to_numpy(), start)
    return Form(BITVECTORS, getattr(twin, method), forest.points)


def _hist_tree(nodes: Any) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    left, right = nodes["left"].astype(np.intp), nodes["right"].astype(np.intp)
    return Tree(
        feature=nodes["feature_idx"].astype(np.intp),
        threshold=nodes["num_threshold"].astype(np.float64),
        left=np.where(leaf, -1, left),
        right=right,
        nan_left=nodes["missing_go_to_left"].astype(bool),
        value=nodes["value"].astype(np.float64),
    )


def _lightgbm_booster(booster: Any, method: str) -> Form:
    fast = _FastBooster(booster)
    return Form(BITVECTORS, fast.predict, fast.forest.points)


def _lightgbm_estimator(model: Any, method: str) -> Form:
    """LightGBM's scikit-learn wrapper around another booster."""
    fast = _FastBooster(model.booster_)
    twin = copy.copy(model)
    twin._Booster = fast
    return Form(BITVECTORS, getattr(twin, method), fast.forest.points)


class _FastBooster:
    """What a LightGBM booster predicts with no arguments but the rows."""

    def __init__(self, booster: Any) -> None:
        head, *trees = booster.model_to_string().partition("\nend of trees")[0].split("\nTree=")
        told = dict(line.partition("=")[::2] for line in head.splitlines())
        objective, *options = told.get("objective", "").split()
        if "average_output" in told or told["num_tree_per_iteration"] != "1":
            raise NoForm("it has several classes or averages its trees")
        if objective not in ("binary", "regression") or "sqrt" in options:
            raise NoForm(f"its objective is {told.get('objective') or 'unknown'}")
        settings = dict(o.partition(":")[::2] for o in options)
        self._slope = float(settings.get("sigmoid", 1.0)) if objective == "binary" else None
        self.forest = _forest([_lightgbm_tree(text) for text in trees], 1)

    def predict(self, frame: Any, **_: Any) -> Any:
        matrix = frame.to_numpy()
        if (zero := np.abs(matrix) <= _LIGHTGBM_ZERO).any():
            matrix = np.where(zero, 0.0, matrix)
        sums = self.forest.sums(matrix, np.zeros(1))[:, 0]
        if self._slope is None:
            return sums
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(-self._slope * sums))


def _lightgbm_tree(text: str) -> Tree:
    """One tree of LightGBM's text format: inner nodes, then leaves (written there as -1, -2, ...)."""
    told = dict(line.partition("=")[::2] for line in text.splitlines()[1:])
    if told.get("num_cat", "0") != "0" or told.get("is_linear", "0") != "0":
        raise NoForm("it has categorical splits or linear leaves")

    def listed(key: str, kind: Any = np.intp) -> Any:
        return np.array(told.get(key, "").split(), np.float64).astype(kind)

    leaves = listed("leaf_value", np.float64)
    threshold, rules = listed("threshold", np.float64), listed("decision_type")
    inner, missing = len(threshold), rules >> 2 & 3  # 0: NaN is zero, 1: zero is missing, too, 2: NaN
    if np.any(missing == 1):
        raise NoForm("it takes zero for missing")
    nan_left = np.where(missing == 2, (rules & 2) > 0, threshold >= 0.0)
    sides = [listed(k) for k in ("left_child", "right_child")]
    left, right = (np.where(s < 0, inner + ~s, s) for s in sides)
    none = np.full(len(leaves), -1, np.intp)
    return Tree(
        feature=np.concatenate([listed("split_feature"), 0 * none]),
        threshold=np.concatenate([threshold, 0.0 * leaves]),
        left=np.concatenate([left, none]),
        right=np.concatenate([right, none]),
        nan_left=np.concatenate([nan_left, none < 0]),
        value=np.concatenate([0.0 * threshold, leaves]),
    )


_MAKERS: dict[tuple[str, str], Callable[[Any, str], Form]] = {
    ("sklearn", "HistGradientBoostingClassifier"): _hist_boosting,
    ("sklearn", "HistGradientBoostingRegressor"): _hist_boosting,
    ("lightgbm", "Booster"): _lightgbm_booster,
    ("lightgbm", "LGBMClassifier"): _lightgbm_estimator,
    ("lightgbm", "LGBMRegressor"): _lightgbm_estimator,
}
