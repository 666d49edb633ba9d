"""What the record keeps of a run's drift and predictions, for comparison over dates."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from report_factory import a_finding

from pipelines import run_figures
from pipelines.profiles import TableProfile, free_spec


def profile(**columns: tuple[str, list[object]]) -> TableProfile:
    """A profile of columns given as (type, values)."""
    specs = [free_spec(name, kind) for name, (kind, _) in columns.items()]
    known = TableProfile.empty([spec for spec in specs if spec])
    for name, (_, values) in columns.items():
        known.columns[name].update(pa.array(values))
    return known


def test_each_judged_column_keeps_its_verdict_its_limit_and_its_distances() -> None:
    found = run_figures.distances(
        [
            a_finding("torque", "drift", wasserstein_distance=1.23456789, ks_statistic=None),
            a_finding("torque", "ok"),
            a_finding("speed", slice_key="region", slice_value="north"),
            a_finding(":table"),
        ]
    )
    assert found == {
        "torque": {
            "verdict": "drift",
            "statistic": "wasserstein",
            "limit": 0.1,
            "js_distance": 0.31,
            "wasserstein_distance": 1.23457,
            "population_stability_index": 0.2,
        }
    }
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("column", "statistic", "value"),
    [
        ("a", None, 0.4),
        ("a", "wasserstein", 0.4),
        ("a", "wasserstein_distance", 0.4),
        ("a", "js_distance", 0.1),
        ("a", "ks_statistic", None),
        ("b", None, None),
    ],
)
def test_a_distance_is_read_back_by_either_of_its_names(
    column: str, statistic: str | None, value: float | None
) -> None:
    known = {"statistic": "wasserstein", "wasserstein_distance": 0.4, "js_distance": 0.1}
    assert run_figures.distance({"distances": {"a": known}}, column, statistic) == value
    assert run_figures.distance({}, column, statistic) is None


def test_numbers_keep_mean_spread_and_quantiles() -> None:
    values = np.random.default_rng(1).normal(10, 2, 500)
    (found,) = run_figures.predictions(profile(prediction=("double", list(values))), ["prediction"]).values()
    assert found["count"] == 500
    assert found["mean"] == pytest.approx(values.mean(), rel=1e-5)
    assert found["stddev"] == pytest.approx(values.std(ddof=1), rel=1e-5)
    assert found["quantiles"] == pytest.approx(np.quantile(values, (0.05, 0.5, 0.95)), abs=0.2)


def test_of_a_0_1_prediction_the_mean_is_the_share_of_positives() -> None:
    found = run_figures.predictions(profile(label=("long", [0, 1, 1, 1])), ["label"])
    assert found["label"]["mean"] == 0.75


def test_classes_keep_the_shares_of_the_most_frequent_ones() -> None:
    labels: list[object] = [f"class {n}" for n in range(20) for _ in range(n + 1)] + [None]
    found = run_figures.predictions(profile(label=("string", labels)), ["label"])["label"]
    assert next(iter(found["shares"])) == "class 19"
    assert len(found["shares"]) == run_figures.CLASSES
    assert found["shares"]["class 19"] == pytest.approx(20 / len(labels), rel=1e-5)


def test_arrays_are_found_by_their_elements_and_inputs_are_left_out() -> None:
    one: tuple[str, list[object]] = ("double", [0.5, 0.7])
    known = profile(a=one, prediction=one, prediction_before=one, probability_0=one, probability_yes=one)
    found = run_figures.predictions(known, ["prediction", "probability"])
    assert list(found) == ["prediction", "probability_0", "probability_yes"]


def test_a_single_value_has_no_spread_and_no_value_no_mean() -> None:
    found = run_figures.predictions(profile(p=("double", [3.0]), q=("double", [None])), ["p", "q"])
    assert found["p"] == {"count": 1, "mean": 3.0, "stddev": None, "quantiles": [3.0, 3.0, 3.0]}
    assert found["q"] == {"count": 1}
