"""The drift study: what it draws is what rows would give, and what it found keeps the promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.profiles import ColumnState
from scripts.populations import SHIFTS, SMALL, TABLE, sample
from scripts.study_drift import table_of

STUDY = Path(__file__).parents[1] / "docs" / "drift-study.json"


@pytest.fixture(scope="module")
def study() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(STUDY.read_text())
    return found


@pytest.mark.parametrize("name", TABLE)
def test_a_drawn_state_is_that_of_its_rows(name):
    reference = sample(np.random.default_rng(1), TABLE[name], 2_000)
    drawn = sample(np.random.default_rng(2), TABLE[name], 1_000, reference.spec)
    rng, population = np.random.default_rng(2), TABLE[name]  # the same rows, one by one
    nulls = rng.binomial(1_000, population.missing) if population.missing else 0
    rows = np.repeat(population.values, rng.multinomial(1_000 - nulls, population.shares))
    counted = ColumnState.empty(reference.spec)
    counted.update(pa.concat_arrays([pa.array(rows), pa.nulls(nulls, pa.array(rows).type)]))
    assert (drawn.count, drawn.nulls, drawn.bins.tolist()) == (1_000, counted.nulls, counted.bins.tolist())
    assert (drawn.minimum, drawn.maximum, drawn.off_edge) == (
        counted.minimum,
        counted.maximum,
        counted.off_edge,
    )
    assert (drawn.mean, drawn.m2) == pytest.approx((counted.mean, counted.m2), rel=1e-9)


def test_a_window_of_the_study_is_counted_on_the_bins_of_its_reference():
    rng = np.random.default_rng(0)
    reference = table_of(rng, 500)
    assert table_of(rng, 300, reference).specs == reference.specs
    assert list(reference.columns) == list(TABLE)


def test_the_study_covers_every_shift(study):
    assert {r["shift"] for r in study["power"]} == SHIFTS.keys()
    assert {r["shift"] for r in study["small"]} == SMALL.keys()


def test_at_most_one_table_in_a_thousand_cries_wolf_at_any_size(study):
    sizes = {(a["n_ref"], a["n_cur"]) for a in study["false_alarms"]}
    assert {(n, n) for n in (100, 1_000, 10_000, 100_000, 1_000_000)} <= sizes
    for found in study["false_alarms"]:
        assert found["tables"] >= 1_000
        assert found["tables_with_an_alarm"] <= found["tables"] / 1_000
        assert found["tables_drift"] == 0


def test_every_shift_is_found_from_some_size_on(study):
    for found in study["power"]:
        assert found["from_n"] is not None, found["shift"]
        assert found["from_n"] <= 10_000, found["shift"]


def test_no_size_makes_a_small_change_a_drift(study):
    for found in study["small"]:
        assert max(found["drift"]) <= 0.01, found["shift"]
