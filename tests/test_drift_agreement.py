"""Drift statistics of real trips equal SciPy's, and the verdicts tell what happened in the city."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from pipelines import drift
from pipelines.profiles import TableProfile, baseline_from_pandas, load_baseline

DATA = Path(__file__).parent / "data" / "drift"
TEXTS = {"vendor_id": str, "pickup_location_id": str, "payment_type": str}
NUMBERS = (
    "passenger_count", "trip_distance", "fare_amount", "extra", "tip_amount", "tolls_amount", "total_amount"
)  # fmt: skip


def trips(month: str) -> pd.DataFrame:
    return pd.read_csv(DATA / f"taxi-{month}.csv.gz", dtype=TEXTS, parse_dates=["pickup_datetime"])


@pytest.fixture(scope="module")
def months() -> dict[str, pd.DataFrame]:
    return {month: trips(month) for month in ("2018-01", "2018-02", "2019-02")}


@pytest.fixture(scope="module")
def base(months) -> TableProfile:
    return load_baseline(baseline_from_pandas(months["2018-01"]))


def window(base: TableProfile, frame: pd.DataFrame) -> TableProfile:
    profile = TableProfile.empty(base.specs)
    profile.update({name: pa.array(frame[name], from_pandas=True) for name in frame})
    return profile


def rows_per_cell(values: pd.Series, reference: pd.Series) -> list[int]:
    """Rows of each category that the reference has five times, of all others, and of what is missing."""
    seen = reference.value_counts()
    own = sorted(seen.index[seen >= 5])
    return [
        *((values == name).sum() for name in own),
        (~values.isin(own) & values.notna()).sum(),
        values.isna().sum(),
    ]


@pytest.mark.parametrize("month", ["2018-02", "2019-02"])
@pytest.mark.parametrize("column", NUMBERS)
def test_distances_of_numbers_are_scipys_within_the_stated_bound(months, base, month, column):
    ref, cur = months["2018-01"][column], months[month][column]
    states = base.columns[column], window(base, months[month]).columns[column]
    ks, area = drift.kolmogorov_smirnov(*states), drift.wasserstein(*states)
    assert -1e-12 <= stats.ks_2samp(ref, cur).statistic - ks.value <= ks.bound + 1e-12
    assert abs(stats.wasserstein_distance(ref, cur) - area.value) <= area.bound + 1e-12


@pytest.mark.parametrize("month", ["2018-02", "2019-02"])
@pytest.mark.parametrize("column", TEXTS)
def test_statistics_of_categories_are_scipys_on_the_same_cells(months, base, month, column):
    ref, cur = months["2018-01"][column], months[month][column]
    found = next(f for f in drift.compare(base, window(base, months[month])) if f.column_name == column)
    p, q = rows_per_cell(ref, ref), rows_per_cell(cur, ref)
    assert found.js_distance == pytest.approx(jensenshannon(p, q, 2), rel=1e-9)
    names = sorted(set(ref))
    table = np.array(
        [[*((side == v).sum() for v in names), (~side.isin(names)).sum()] for side in (ref, cur)]
    )
    shares = table / table.sum(axis=1, keepdims=True)
    chi = stats.chi2_contingency(table[:, table.any(axis=0)], correction=False)
    assert found.chi_squared_statistic == pytest.approx(chi.statistic, rel=1e-9)
    assert found.tv_distance == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2, rel=1e-9)


@pytest.mark.parametrize(
    ("month", "drifted"),
    [("2018-02", set()), ("2019-02", {"congestion_surcharge", "extra", "total_amount", "passenger_count"})],
)
def test_a_month_later_nothing_drifts_and_the_surcharge_is_found_when_it_comes(months, base, month, drifted):
    found = drift.compare(base, window(base, months[month]))
    assert drifted <= {f.column_name for f in found if f.verdict == "drift"}
    assert bool(drifted) == any(f.verdict == "drift" for f in found)
    assert found[0].non_null_columns_added == (1 if drifted else 0)
