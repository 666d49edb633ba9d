"""A model is to be trained again when a statistic stays above its threshold, and is asked for once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_factory import a_record

from pipelines import retrain
from pipelines.config_alerts import Retrain
from pipelines.records import RunRecord


def rule(**changes: Any) -> Retrain:
    known = {"statistic": "js_distance", "threshold": 0.2, "at_least": 2, "of_last": 3}
    return Retrain.model_validate({**known, **changes})


def run(day: int, *, version: str = "1", started: int | None = None, **changes: Any) -> RunRecord:
    distances = {c: {"js_distance": v} for c, v in changes.pop("js", {}).items()}
    known = {
        "run_date": f"2026-11-{day:02}",
        "run_id": f"r{day}",
        "started_at": f"2026-12-{started or day:02}T00:00:00Z",
        "model": {"name": "toy", "version": version},
        "drift": {"status": "ok", "distances": distances},
    }
    return a_record(**{**known, **changes})


def days(*values: float | None) -> list[RunRecord]:
    """One run per date; None where drift was not measured."""
    return [run(n, js={} if v is None else {"a": v}) for n, v in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        ((0.3, 0.1, 0.3), True),
        ((0.1, 0.3, 0.3), True),
        ((0.3, 0.3, 0.1), False),  # the newest one is fine again
        ((0.1, 0.1, 0.3), False),
        ((0.3, 0.1, 0.1, 0.3), False),  # the first one is too long ago
        ((0.3, 0.3), True),
        ((0.3,), False),
        ((0.2, 0.2, 0.2), False),  # on the threshold is not above it
        ((0.3, None, 0.3), True),
        ((0.3, 0.3, None), False),
        ((), False),
    ],
)
def test_the_rule_holds_for_k_of_the_last_n_dates_and_the_newest(
    values: Sequence[float | None], asked: bool
) -> None:
    assert (retrain.decide(rule(), days(*values)) is not None) is asked


@given(
    values=st.lists(st.sampled_from((0.1, 0.3)), min_size=1, max_size=9),
    n=st.integers(1, 6),
    data=st.data(),
)
def test_the_rule_is_what_its_sentence_says(values: list[float], n: int, data: Any) -> None:
    k = data.draw(st.integers(1, n))
    window = [v > 0.2 for v in values[-n:]]
    asked = retrain.decide(rule(at_least=k, of_last=n), days(*values)) is not None
    assert asked is (window[-1] and sum(window) >= k)


def test_the_event_holds_what_a_training_job_needs() -> None:
    history = [run(1, js={"a": 0.3, "b": 0.1}), run(2, js={"a": 0.4, "b": 0.5})]
    event = retrain.decide(rule(), history)
    assert event is not None
    assert event.columns == {"a": {"2026-11-01": 0.3, "2026-11-02": 0.4}}
    assert event.model == {"name": "toy", "version": "1"}
    assert event.reason == ("js_distance of a above 0.2 on 2026-11-02 and on at least 2 of the last 3 dates.")


@pytest.mark.parametrize(
    ("columns", "found"), [((), {"a", "b"}), (("b", "z"), {"b"}), (("z",), None)], ids=str
)
def test_only_the_wanted_columns_are_looked_at(columns: tuple[str, ...], found: set[str] | None) -> None:
    history = [run(n, js={"a": 0.3, "b": 0.3}) for n in (1, 2)]
    event = retrain.decide(rule(columns=columns), history)
    assert (event and set(event.columns)) == found


def test_two_columns_that_are_each_above_once_are_no_cause() -> None:
    assert retrain.decide(rule(), [run(1, js={"a": 0.3}), run(2, js={"b": 0.3})]) is None


def test_a_configured_name_of_a_statistic_finds_its_field() -> None:
    history = [run(n, drift={"distances": {"a": {"wasserstein_distance": 0.3}}}) for n in (1, 2)]
    assert retrain.decide(rule(statistic="wasserstein"), history) is not None


def test_quarantined_rows_can_be_the_cause() -> None:
    history = [run(n, rows={"read": 100, "scored": 70, "quarantined": 30}) for n in (1, 2)]
    event = retrain.decide(rule(statistic="quarantined"), history)
    assert event is not None
    assert event.columns == {"": {"2026-11-01": 0.3, "2026-11-02": 0.3}}


def test_a_new_version_starts_afresh() -> None:
    history = [run(1, js={"a": 0.9}), run(2, js={"a": 0.9}), run(3, js={"a": 0.9}, version="2")]
    assert retrain.decide(rule(), history) is None


def test_a_blocked_run_counts_and_one_without_a_verdict_does_not() -> None:
    blocked = [run(1, js={"a": 0.3}, status="blocked"), run(2, js={"a": 0.3}, status="blocked")]
    assert retrain.decide(rule(), blocked) is not None
    failed = [run(1, js={"a": 0.3}), run(2, js={"a": 0.3}, status="failed")]
    assert retrain.decide(rule(), failed) is None


def test_of_several_runs_of_one_date_the_last_counts_and_counts_once() -> None:
    again = [run(1, js={"a": 0.9}), run(1, js={"a": 0.3}, started=2)]
    assert retrain.decide(rule(), again) is None
    corrected = [run(1, js={"a": 0.9}), run(2, js={"a": 0.9}), run(2, js={"a": 0.1}, started=3)]
    assert retrain.decide(rule(), corrected) is None


def test_a_backfilled_date_is_judged_with_the_dates_before_it() -> None:
    backfilled = [run(9, js={"a": 0.9}), run(2, js={"a": 0.9}, started=10)]
    assert retrain.decide(rule(), backfilled) is None
    both = [*backfilled, run(1, js={"a": 0.9}, started=11), run(2, js={"a": 0.9}, started=12)]
    event = retrain.decide(rule(), both)
    assert event is not None
    assert event.run_date == "2026-11-02"


def test_while_the_cause_persists_one_event_in_n_dates_is_enough() -> None:
    history: list[RunRecord] = []
    asked = []
    for day in range(1, 11):
        event = retrain.decide(rule(), [*history, run(day, js={"a": 0.9})])
        asked.append(event is not None)
        history.append(run(day, js={"a": 0.9}, event=event and event.to_dict()))
    assert [n for n, yes in enumerate(asked, 1) if yes] == [2, 5, 8]
    assert all(b - a >= 3 for a, b in itertools.pairwise([2, 5, 8]))


def test_without_a_rule_nothing_is_asked_for() -> None:
    assert retrain.decide(None, days(0.9, 0.9, 0.9)) is None
