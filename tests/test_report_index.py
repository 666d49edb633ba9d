"""The index shows all runs that did something, and how a pipeline's figures went over its dates."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from report_factory import DASH, FAILED, HOSTILE, REFUSED, Page, a_record

from pipelines import report
from pipelines.records import RunRecord
from pipelines.report import drawing, multiples


def some_runs() -> list[RunRecord]:
    return [
        a_record(run_date="2026-11-20"),
        REFUSED.record,
        a_record(run_date="2026-11-21", drift={"status": "drift", "columns": ["a"], "judged": 4}),
        dataclasses.replace(FAILED.record, run_date="2026-11-19"),
    ]


def no_page(_: RunRecord) -> None:
    return None


def at(day: int, **changes: Any) -> RunRecord:
    date = f"2026-11-{day:02}"
    path = {"report": f"/anywhere/out/reports/run_date={date}/r{day}.html"}
    return a_record(**{"run_date": date, "run_id": f"r{day}", "paths": path, **changes})


def drifting(**values: float) -> dict[str, Any]:
    known = {"statistic": "wasserstein", "limit": 0.1}
    return {
        "status": "ok",
        "columns": [],
        "judged": len(values),
        "distances": {
            c: {**known, "wasserstein_distance": v, "verdict": "drift" if v > 0.1 else "ok"}
            for c, v in values.items()
        },
    }


def charts(runs: list[RunRecord], group: str) -> list[drawing.Multiple]:
    found = {g.title: list(g.charts) for g in multiples.groups(runs, report.page_address)}
    return found.get(group, [])


def test_the_newest_run_comes_first_and_links_lead_to_pages_that_exist() -> None:
    html = report.render_index(some_runs(), lambda r: f"{r.run_date}.html" if r.rows else None)
    table = html[html.index("<table") :]
    assert Page(table).attributes("href") == ["./2026-11-22.html", "./2026-11-21.html", "./2026-11-20.html"]
    page = Page(html)
    assert f"2026-11-19 Failed {DASH} {DASH}" in page.text
    assert (page.misnested, page.open) == ([], [])


@pytest.mark.parametrize(
    ("recorded", "address"),
    [
        ("/data/out/toy/reports/run_date=2026-11-22/r1.html", "run_date=2026-11-22/r1.html"),
        ("out/toy/reports/run_date=2026-11-22/r1.html", "run_date=2026-11-22/r1.html"),
        ("", None),
        (None, None),
    ],
)
def test_a_page_is_found_wherever_the_folder_has_moved(recorded: str | None, address: str | None) -> None:
    record = a_record(paths={} if recorded is None else {"report": recorded})
    assert report.page_address(record) == address


@pytest.mark.parametrize(
    "path", [HOSTILE, "javascript:alert(1)", "//evil.example/x", "data:text/html,x", "a?b#c", "https://x"]
)
def test_an_address_never_leaves_the_folder_of_the_index(path: str) -> None:
    html = report.render_index([at(1), at(2)], lambda _: path)
    links = Page(html).attributes("href")
    assert links
    assert all(re.fullmatch(r"\./[\w./=%~-]*", link) for link in links)


def test_each_point_links_to_its_run() -> None:
    html = report.render_index([at(1), at(2), at(3)])
    for chart in re.findall(r"<figure>.*?</figure>", html, re.DOTALL):
        assert Page(chart).attributes("href") == [f"./run_date=2026-11-0{n}/r{n}.html" for n in (1, 2, 3)]


def test_attempts_that_had_nothing_to_do_are_counted_and_not_listed() -> None:
    runs = [
        at(1),
        at(2),
        at(2, status="already_published", seconds={"total": 0.001}),
        at(3, status="dry_run"),
    ]
    text = Page(report.render_index(runs)).text
    assert "2 runs, newest first" in text
    assert "2 more attempts had nothing to do" in text
    assert "Last run, 2026-11-02 Published, no drift" in text
    assert charts(runs, "Time and cost")[0].last == "36.4 s"


def test_where_all_attempts_had_nothing_to_do_there_is_no_run_to_show() -> None:
    text = Page(report.render_index([at(1, status="dry_run")])).text
    assert "1 attempt had nothing to do" in text
    assert "No run has been recorded yet." not in text


def test_a_later_failure_does_not_hide_what_was_published() -> None:
    failed = at(2, status="failed", rows={}, started_at="2026-11-22T09:00:00Z")
    assert [r.status for r in multiples.by_date([at(1), failed, at(2)])] == ["published", "published"]


def test_a_forced_run_replaces_the_one_before() -> None:
    again = at(1, run_id="r9", started_at="2026-11-22T09:00:00Z")
    assert [r.run_id for r in multiples.by_date([again, at(1)])] == ["r9"]


def test_volume_and_quality_are_drawn_from_zero_with_their_ends_in_words() -> None:
    read, quarantined, drifted = charts(some_runs(), "Volume and quality")
    assert read.said == "between 1,000 and 1,250,000, last 1,000"
    assert drifted.said == "between 0 % and 25.0 %, last 0 %"
    assert read.points[-1].top == pytest.approx(100 * (1 - 1000 / (1_250_000 * 1.15)), abs=0.01)
    assert quarantined.title == "Quarantined"


def test_drifted_columns_are_counted_where_the_number_of_judged_ones_is_not_known() -> None:
    drifts = [{"status": "ok", "columns": []}, {"status": "drift", "columns": ["a", "b"]}, {"status": "none"}]
    runs = [a_record(run_date=f"2026-11-2{i}", drift=d) for i, d in enumerate(drifts)]
    drawn = charts(runs, "Volume and quality")[-1]
    assert (drawn.title, drawn.last_date, drawn.said) == (
        "Drifted columns",
        "2026-11-21",
        "between 0 and 2, last 2",
    )


def test_each_column_has_its_drift_over_dates_with_its_limit_and_the_worst_first() -> None:
    runs = [at(1, drift=drifting(calm=0.02, torn=0.05)), at(2, drift=drifting(calm=0.03, torn=0.4))]
    torn, calm = charts(runs, "Drift by column")
    assert (torn.title, calm.title) == ("torn", "calm")
    assert torn.note == "Normalised Wasserstein distance, limit 0.1"
    assert [p.tone for p in torn.points] == ["good", "warn"]
    assert [p.tone for p in calm.points] == ["good", "good"]
    assert torn.limit is not None
    assert torn.points[1].top < torn.limit < torn.points[0].top


def test_of_very_many_columns_those_nearest_to_their_limits_are_drawn() -> None:
    values = {f"c{i:03}": i / 1000 for i in range(300)}
    runs = [at(n, drift=drifting(**values)) for n in (1, 2)]
    drawn = charts(runs, "Drift by column")
    assert len(drawn) == multiples.COLUMNS
    assert drawn[0].title == "c299"
    assert "276 more columns came less near to their limits." in report.render_index(runs)


def test_a_numeric_prediction_is_drawn_with_its_spread_and_classes_as_shares() -> None:
    def known(mean: float, share: float) -> dict[str, Any]:
        return {"prediction": {"mean": mean, "stddev": 1.0}, "label": {"shares": {"bad": share}}}

    runs = [at(1, predictions=known(10, 0.1)), at(2, predictions=known(11, 0.2)), at(3, predictions={})]
    mean, bad = charts(runs, "Predictions")
    assert (mean.title, mean.last, bool(mean.band)) == ("prediction", "11", True)
    assert (bad.title, bad.note, bad.last) == ("bad", "share of label", "20.0 %")


def test_a_class_that_was_not_predicted_on_a_date_has_no_share_there() -> None:
    runs = [at(n, predictions={"label": {"shares": s}}) for n, s in ((1, {"a": 1.0}), (2, {"b": 1.0}))]
    assert {c.title: c.last for c in charts(runs, "Predictions")} == {"b": "100 %", "a": "0 %"}


@pytest.mark.parametrize("mean", [0.0, 5.0])
def test_a_figure_that_never_changes_is_a_line_in_the_box(mean: float) -> None:
    runs = [at(n, predictions={"p": {"mean": mean, "stddev": 0.0}}) for n in (1, 2)]
    (drawn,) = charts(runs, "Predictions")
    assert all(0 < p.top < 100 for p in drawn.points)


def test_cost_is_told_for_a_million_rows() -> None:
    runs = [at(n, rows={"read": 500_000}, core_seconds=50.0 * n) for n in (1, 2)]
    found = {c.title: c.last for c in charts(runs, "Time and cost")}
    assert found["Processor time per million rows"] == "200.0 s"


def test_the_newest_dates_are_drawn_and_all_are_listed() -> None:
    runs = [a_record(run_date=f"20{y}-{m:02}-01") for y in range(10, 22) for m in range(1, 13)]
    html = report.render_index(runs)
    assert "144 runs, newest first" in html
    assert charts(runs, "Volume and quality")[0].first_date == "2014-07-01"


def test_a_hostile_name_stays_text() -> None:
    runs = [
        at(n, name=HOSTILE, drift={**drifting(**{HOSTILE: 0.3}), "columns": [HOSTILE]}, predictions=p)
        for n, p in ((1, {HOSTILE: {"mean": 1.0}}), (2, {HOSTILE: {"mean": 2.0, "shares": {HOSTILE: 1.0}}}))
    ]
    html = report.render_index(runs)
    assert not {"script", "img"} & {tag for tag, _ in Page(html).elements}
    assert "<script" not in html
