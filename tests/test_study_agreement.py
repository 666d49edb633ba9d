"""The agreement study: other tools' figures follow from their conventions, and ours from SciPy's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from scripts.agreement import conventions
from scripts.study_agreement import TOOLS

STUDY = Path(__file__).parents[1] / "docs" / "drift-agreement.json"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(STUDY.read_text())["rows"]
    return found


@pytest.mark.parametrize("tool", TOOLS)
def test_every_figure_of_a_tool_is_explained_by_its_conventions(rows, tool):
    figures = [
        (row["theirs"][tool][name], expected)
        for row in rows
        for name, expected in row["expected"][tool].items()
        if name in row["theirs"][tool]
    ]
    assert len(figures) > 300
    assert [theirs for theirs, _ in figures] == pytest.approx([e for _, e in figures], rel=1e-9, abs=1e-9)


def test_ours_are_scipys_exactly_or_within_the_stated_bound(rows):
    for row in rows:
        for name, exact in row["scipy"].items():
            ours, room = row["ours"][name], row["ours"].get("bounds", {}).get(name, 0.0)
            assert ours is None or abs(ours - exact) <= room + 1e-9, (row["pair"], row["column"], name)


def test_the_congestion_surcharge_is_found_where_the_other_tools_have_no_figure(rows):
    found = {row["pair"]: row for row in rows if row["column"] == "congestion_surcharge"}
    assert {pair: row["ours"]["verdict"] for pair, row in found.items()} == {
        "taxi 2018-07": "ok",
        "taxi 2019-01": "drift",
        "taxi 2019-02": "drift",
        "taxi 2019-12": "drift",
    }
    for row in found.values():
        assert isinstance(row["theirs"]["evidently"]["js_distance"], str)
        assert np.isnan(row["theirs"]["nannyml"]["js_distance"])


def test_evidently_counts_values_where_there_are_few_and_takes_base_e():
    ref, cur = pd.Series([1.0, 1.0, 2.0, np.nan]), pd.Series([1.0, 2.0, 2.0, 3.0])
    found = conventions.evidently(ref, cur)
    assert found["js_distance"] == pytest.approx(jensenshannon([2, 1, 0], [1, 2, 1]))
    assert found["ks_pvalue"] == stats.ks_2samp(ref.dropna(), cur).pvalue


def test_nannyml_puts_unknown_categories_together_and_takes_base_2():
    ref, cur = pd.Series(["a", "a", "b"]), pd.Series(["a", "new", "newer", None])
    found = conventions.nannyml(ref, cur)
    assert found["js_distance"] == pytest.approx(jensenshannon([2, 1, 0], [1, 0, 2], 2))
