"""The page says what the record says, to a manager and to an attacker alike."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from report_factory import (
    BARE,
    DASH,
    DRIFT,
    EVERY_KIND,
    FAILED,
    GOOD,
    REFUSED,
    Page,
    a_check,
    a_finding,
    a_plot,
    a_record,
    an_example,
    hostile_detail,
)

from pipelines import report
from pipelines.records import Distribution, QuarantinedShare, RunDetail, RunRecord
from pipelines.report import charts, columns, figures, flows, reasons, wholes, words


def with_status(status: Any, **changes: Any) -> RunRecord:
    return a_record(status=status, **changes)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (a_record(), "Published, no drift"),
        (a_record(drift={}), "Published, drift not measured"),
        (a_record(drift={"status": "none"}), "Published, drift not measured"),
        (a_record(drift={"status": "insufficient_data"}), "Published, too little data to judge drift"),
        (
            a_record(drift={"status": "drift", "columns": ["a", "b", "c"]}),
            "Published, drift in 3 columns: a, b, c",
        ),
        (a_record(drift={"status": "ok", "columns": ["a"]}), "Published, drift in 1 column: a"),
        (
            a_record(drift={"status": "drift", "columns": list("abcde")}),
            "Published, drift in 5 columns: a, b, c and 2 more",
        ),
        (
            with_status("blocked", drift={"status": "drift", "columns": ["a"]}),
            "Not published: drift in 1 column: a",
        ),
        (REFUSED.record, "Refused: 12.0 % of rows quarantined, limit 1.0 %"),
        (
            with_status("refused", error={"message": "critical expectations failed: input not_null(a)."}),
            "Refused: critical expectations failed: input not_null(a)",
        ),
        (
            a_record(drift={"status": "drift", "columns": [], "decided_by": "volume_ratio"}),
            "Published, drift in the number of rows",
        ),
        (
            with_status("blocked", drift={"status": "drift", "columns": [], "decided_by": "quarantined"}),
            "Not published: drift in the share of quarantined rows",
        ),
        (with_status("refused", rows={}, checks={}, error=None), "Refused: the data did not pass"),
        (with_status("refused", checks={}, error=None), "Refused: 0.07 % of rows quarantined"),
        (FAILED.record, "Failed: No registry at sqlite:///x.db"),
        (BARE.record, "Failed: no message was recorded"),
        (with_status("already_published"), "Already published: there was nothing to do"),
        (with_status("dry_run"), "Dry run: nothing was written"),
    ],
)
def test_the_headline_is_the_verdict_in_words(record: RunRecord, said: str) -> None:
    assert words.headline(record) == said
    assert f"<h1>{said}</h1>" in report.render_run(RunDetail(record))


@pytest.mark.parametrize(
    ("record", "tone"),
    [
        (a_record(), "good"),
        (a_record(drift={}), "good"),
        (a_record(drift={"status": "ok", "columns": ["a"]}), "warn"),
        (a_record(drift={"status": "insufficient_data"}), "warn"),
        (with_status("refused"), "bad"),
        (with_status("failed"), "bad"),
        (with_status("dry_run"), "plain"),
    ],
)
def test_only_an_unclouded_verdict_is_green(record: RunRecord, tone: str) -> None:
    assert words.tone(record) == tone


@pytest.mark.parametrize("detail", EVERY_KIND.values(), ids=EVERY_KIND)
def test_a_page_is_well_formed_and_reaches_for_nothing_outside(detail: RunDetail) -> None:
    html = report.render_run(detail, previous=[a_record(run_date="2026-11-21")])
    page = Page(html)
    assert (page.misnested, page.open) == ([], [])
    assert not {"script", "link", "img", "iframe", "object", "form"} & {tag for tag, _ in page.elements}
    assert page.attributes("src") == []
    assert all(a.startswith("#") for a in page.attributes("href"))
    assert "url(" not in html
    assert "@import" not in html
    assert any("default-src 'none'" in c and "script-src" not in c for c in page.attributes("content"))
    assert detail.record.run_id in page.text


@pytest.mark.parametrize("detail", EVERY_KIND.values(), ids=EVERY_KIND)
def test_a_screen_reader_finds_headers_labels_and_an_order_of_headings(detail: RunDetail) -> None:
    page = Page(report.render_run(detail, previous=[a_record(run_date="2026-11-21")]))
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {i for label in page.attributes("aria-labelledby") for i in label.split()} <= set(ids)
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.elements if tag == "th")
    assert all(
        attrs.get("role") == "img" or "aria-hidden" in attrs for tag, attrs in page.elements if tag == "svg"
    )
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_hostile_names_and_values_stay_text() -> None:
    calm = Page(report.render_run(DRIFT, previous=[a_record(run_date="2026-11-21")]))
    hostile = report.render_run(hostile_detail(), previous=[a_record(run_date="2026-11-21")])
    page = Page(hostile)
    known = {tag for tag, _ in calm.elements} | {"details", "summary", "article", "code", "strong", "title"}
    assert (page.misnested, page.open) == ([], [])
    assert {tag for tag, _ in page.elements} <= known
    assert not [
        name for _, attrs in page.elements for name in attrs if name.startswith("on") or name == "src"
    ]
    assert "<script" not in hostile
    assert "<img" not in hostile
    assert page.text.count("<script>alert(1)</script>") > 15


@settings(max_examples=40, deadline=None)
@example(name="<b>")
@example(name='" class="')
@example(name="{{ 7 * 7 }}{}")
@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_no_name_whatever_changes_the_elements_of_a_page(name: str) -> None:
    def elements(column: str) -> list[str]:
        plot = Distribution(column, "categorical", (column, "b"), (0.5, 0.5), (0.4, 0.6))
        detail = RunDetail(
            a_record(quarantined_by={column: 3}, drift={"status": "drift", "columns": [column]}),
            checks=(a_check(column, column=column),),
            drift=(a_finding(column, "drift", statistic=column),),
            distributions=(plot,),
            quarantine_examples=(an_example(reasons=[column], row={column: column}),),
        )
        return [tag for tag, _ in Page(report.render_run(detail)).elements]

    assert elements(name) == elements("torque!")


@pytest.mark.parametrize("detail", EVERY_KIND.values(), ids=EVERY_KIND)
def test_a_record_read_back_from_the_ledger_gives_the_same_page(detail: RunDetail) -> None:
    again = RunRecord.from_dict(json.loads(json.dumps(detail.record.to_dict())))
    assert report.render_run(dataclasses.replace(detail, record=again)) == report.render_run(detail)


def numbers_of(html: str, row: str) -> list[int]:
    """The whole numbers in the cells of the table row whose header is ``row``."""
    found = re.search(rf'<th scope="row"[^>]*>{re.escape(row)}</th>(.*?)</tr>', html, re.DOTALL)
    assert found, row
    return [int(n.replace(",", "")) for n in re.findall(r'<td class="num">([\d,]+)</td>', found[1])]


@pytest.mark.parametrize("detail", [GOOD, REFUSED], ids=["good", "refused"])
def test_the_rows_add_up_and_each_stream_is_as_wide_as_its_share(detail: RunDetail) -> None:
    html = report.render_run(detail)
    read, scored, quarantined = (numbers_of(html, k)[0] for k in ("Read", "Scored", "Quarantined"))
    assert read == scored + quarantined == detail.record.rows["read"]
    assert "Not accounted for" not in html
    drawn = flows.flow(detail.record)
    assert drawn is not None
    widths = [float(re.findall(r"v([\d.]+)", s.path)[0]) for s in drawn.streams]
    assert widths[0] == pytest.approx(80 * scored / read, abs=0.1)
    assert all(w >= 3 for w in widths)  # what took a single row can still be seen
    assert drawn.said in Page(html).text


def test_reasons_beyond_the_largest_flow_together() -> None:
    by = {f"rule_{i}": 100 - i for i in range(9)}
    record = a_record(rows={"read": 1000, "scored": 136, "quarantined": 864}, quarantined_by=by)
    drawn = flows.flow(record)
    assert drawn is not None
    names = [s.name for s in drawn.streams]
    assert names == ["Scored", *(f"rule_{i}" for i in range(5)), "4 other reasons"]
    assert drawn.streams[-1].said == "374 · 37.4 %"


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("between(mean radius)", "mean radius = -3"),
        ("ValueError: no", "radius = 1, mean radius = -3, area = 2"),
        ("malformed_record", "raw_record = 1;-3"),
        ("nobody's", ""),
    ],
)
def test_a_reason_is_shown_with_the_cells_it_speaks_of(reason: str, shown: str) -> None:
    row = {"radius": 1, "mean radius": -3, "area": 2, "id": 7}
    examples = [{"reasons": ["ValueError: no", "between(mean radius)"], "row": row}]
    examples.append({"reasons": ["malformed_record"], "row": {"id": 8, "raw_record": "1;-3"}})
    found = reasons.reasons(a_record(quarantined_by={reason: 5}), examples)
    assert found == [reasons.Reason(reason, 5, shown)]


def test_where_nothing_drifted_the_columns_nearest_to_their_limits_are_drawn() -> None:
    names = ("a", "b", "c", "d")
    calm = RunDetail(
        a_record(),
        drift=tuple(a_finding(n, wasserstein_distance=0.01 * i) for i, n in enumerate(names)),
        distributions=tuple(a_plot(n) for n in names),
    )
    html = report.render_run(calm)
    assert re.findall(r"<h3><span>(\w)</span>", html) == ["d", "c"]
    assert "These came nearest to their limits." in html


def test_rows_that_went_nowhere_are_shown_as_such() -> None:
    html = report.render_run(RunDetail(a_record(rows={"read": 1200, "scored": 1000, "quarantined": 100})))
    assert numbers_of(html, "Not accounted for") == [100]


def test_reasons_that_overlap_are_explained() -> None:
    assert "counts under each" in Page(report.render_run(GOOD)).text
    assert "counts under each" not in Page(report.render_run(REFUSED)).text


def test_drifted_columns_come_first_and_the_furthest_moved_at_the_top() -> None:
    order = [c.name for c in columns.column_drifts(DRIFT.drift, DRIFT.distributions)]
    assert order == ["torque", "type", "few", "speed"]


def test_a_finding_is_told_in_plain_words() -> None:
    torque = a_finding(verdict="drift", percent_null_delta=4.0)
    assert columns.sentences(torque) == [
        "The values moved by 1.4 baseline standard deviations; the limit is 0.1.",
        "The mean rose by 3.25.",
        "Empty values rose by 4 percentage points.",
    ]
    few = a_finding(verdict="insufficient_data", n_cur=8)
    assert columns.sentences(few) == ["Too little data to judge: 8 values against 800,000 in the reference."]
    other_bins = a_finding(verdict="insufficient_data", js_distance=None)
    assert columns.sentences(other_bins) == [
        "Counted on other bins than the reference, so that there is nothing to compare."
    ]
    text = a_finding(verdict="drift", statistic="data_type", data_type="string", threshold=None)
    assert "Its values are of another kind than in the reference: string now." in columns.sentences(text)


def test_the_reference_that_decides_gives_the_verdict_and_a_drift_against_the_other_is_seen() -> None:
    other = {"drift_type": "CONSECUTIVE"}
    findings = (
        a_finding("torn"), a_finding("torn", "drift", **other),
        a_finding("new model"), a_finding("new model", "insufficient_data", js_distance=None, **other),
    )  # fmt: skip
    found = {c.name: c.verdict for c in columns.column_drifts(findings, ())}
    assert found == {"torn": "drift", "new model": "ok"}
    previous = {"run_date": "2026-11-21", "status": "ok", "columns": ["torn"]}
    record = a_record(drift={"status": "ok", "columns": [], "reference": "model", "previous": previous})
    text = Page(report.render_run(RunDetail(record, drift=findings))).text
    assert "Compared with the baseline of the model: none of 2 columns drifted." in text
    assert "Compared with the previous run, of 2026-11-21: 1." in text


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({}, []),
        ({"columns_added": ("a", "b")}, ["New since the baseline: a, b."]),
        ({"columns_missing": ("a",)}, ["Gone since the baseline: a."]),
        (
            {"columns_missing": tuple("abcdefghij")},
            ["Gone since the baseline: a, b, c, d, e, f, g, h and 2 more."],
        ),
        (
            {"columns_retyped": ("a: long to string",)},
            ["Of another type than in the baseline: a: long to string."],
        ),
        (
            {"non_null_columns_added": 1, "non_null_columns_missing": 0},
            ["Columns that hold values: 1 more and 0 fewer than in the baseline."],
        ),
        ({"volume_ratio": 0.5}, []),
        ({"volume_ratio": 1.05, "drift_type": "CONSECUTIVE"}, []),
        ({"volume_ratio": 0.5, "drift_type": "CONSECUTIVE"}, ["50.0 % fewer rows than in the previous run."]),
        (
            {"volume_ratio": 3.0, "drift_type": "CONSECUTIVE", "statistic": "volume_ratio", "threshold": 0.5},
            ["200.0 % more rows than in the previous run; the limit is 50.0 %."],
        ),
        (
            {"quarantined": (QuarantinedShare("", 1.0, 3.0), QuarantinedShare("a", 0.0, 0.0))},
            ["Quarantined: 3.0 % of the rows, 1.0 % in the baseline."],
        ),
        (
            {"quarantined": (QuarantinedShare("", 1.0, 3.0),), "statistic": "quarantined", "threshold": 0.02},
            ["Quarantined: 3.0 % of the rows, 1.0 % in the baseline; the limit of the change is 2.0 %."],
        ),
    ],
)
def test_the_table_as_a_whole_is_told_in_plain_words(known: dict[str, Any], said: list[str]) -> None:
    finding = a_finding(":table", **known)
    assert wholes.table_sentences(finding) == said
    text = Page(report.render_run(RunDetail(a_record(), drift=(finding,)))).text
    assert all(s in text for s in said)


def test_slices_stand_apart_from_columns_and_those_that_drifted_come_first() -> None:
    def of(value: str, verdict: str, column: str, n: int) -> Any:
        return a_finding(column, verdict, slice_key="region", slice_value=value, n_cur=n, n_ref=9)

    findings = (of("north", "ok", "torque", 50), of("north", "ok", ":table", 50))
    findings += (of("south", "drift", "torque", 20), of("south", "ok", ":table", 20))
    found = wholes.slices((a_finding(), *findings))
    assert found == [
        wholes.Slice("region = south", "drift", "torque", 20, 9),
        wholes.Slice("region = north", "ok", "", 50, 9),
    ]
    assert [c.verdict for c in columns.column_drifts((a_finding(), *findings), ())] == ["ok"]
    text = Page(report.render_run(RunDetail(a_record(), drift=findings))).text
    assert "Slices (2, 1 drifted)" in text
    assert "region = south torque drift 20 9" in text


def test_slices_with_two_references_say_which_one_is_meant() -> None:
    of = {"slice_key": "region", "slice_value": "north", "n_cur": 50}
    before = a_finding(verdict="drift", drift_type="CONSECUTIVE", n_ref=40, **of)
    findings = (a_finding(n_ref=9, **of), before)
    assert [(s.against, s.rows_before, s.verdict) for s in wholes.slices(findings)] == [
        ("the previous run", 40, "drift"),
        ("the baseline", 9, "ok"),
    ]
    text = Page(report.render_run(RunDetail(a_record(), drift=findings))).text
    assert "against the previous run" in text


def test_a_mean_of_moments_moves_by_days() -> None:
    moved = a_finding(verdict="drift", data_type="timestamp", avg_delta=-129_600.0)
    assert "The mean fell by 1.5 days." in columns.sentences(moved)


def test_a_distance_is_shown_with_its_limit_and_its_error_bound() -> None:
    finding = a_finding(verdict="drift", statistic="js_distance", error_bound=0.004)
    assert ("Jensen\u2013Shannon distance", "0.31", "0.1") in columns.statistics(finding)
    assert ("Kolmogorov\u2013Smirnov statistic", "0.11 ± 0.004", "") in columns.statistics(finding)
    assert ("Normalised Wasserstein distance", "1.4", "") in columns.statistics(finding)


@pytest.mark.parametrize("current", [(0.0, 0.0), (0.3, 0.7)])
def test_both_outlines_begin_and_end_on_the_axis(current: tuple[float, float]) -> None:
    drawn = charts.histogram(Distribution("a", "numeric", ("x", "y"), (0.5, 0.5), current))
    assert drawn is not None
    assert all(p.startswith("M0 100") and p.endswith("V100") for p in (drawn.baseline, drawn.current))
    assert drawn.width == 20


def test_a_column_without_data_is_said_to_have_none() -> None:
    empty = Distribution("torque", "numeric", ("x",), (0.0,), (0.0,))
    detail = RunDetail(a_record(), drift=(a_finding(verdict="drift"),), distributions=(empty,))
    assert "There were no values to draw." in Page(report.render_run(detail)).text


def test_three_hundred_columns_stay_mailable() -> None:
    names = [f"sensor_reading_{i:03}" for i in range(300)]
    detail = RunDetail(
        a_record(drift={"status": "drift", "columns": names[:60]}),
        checks=tuple(a_check(f"expect_column_values_to_be_between({n})", column=n) for n in names),
        drift=tuple(a_finding(n, "drift" if i < 60 else "ok") for i, n in enumerate(names)),
        distributions=tuple(a_plot(n, shift=i % 7) for i, n in enumerate(names)),
        quarantine_examples=(an_example(),) * 20,
    )
    html = report.render_run(detail)
    assert len(html.encode()) < 400_000
    assert all(n in html for n in names)


def test_failed_checks_come_before_passed_ones_with_the_counts_of_great_expectations() -> None:
    bad = a_check(
        "between(speed)", success=False, unexpected_count=1250, unexpected_percent=0.1, severity="warning"
    )
    text = Page(report.render_run(RunDetail(a_record(), checks=(a_check(), bad)))).text
    assert text.index("between(speed)") < text.index("not_be_null(torque)")
    assert "1,250,000 1,250 0.10 % failed" in text


def test_a_failure_says_what_to_do() -> None:
    text = Page(report.render_run(FAILED)).text
    assert "ModelUnavailable No registry at sqlite:///x.db. What to do: Start it." in text


def test_a_wish_to_train_again_and_an_alert_that_failed_are_told() -> None:
    told = {
        "channel": "webhook",
        "target": "https://hooks.example",
        "ok": False,
        "error": "the answer was 500",
    }
    fine = {**told, "ok": True, "error": None, "target": "https://fine.example"}
    record = a_record(notified=(told, fine), event={"reason": "js_distance of a above 0.2."})
    text = Page(report.render_run(RunDetail(record))).text
    assert "To be trained again: js_distance of a above 0.2." in text
    assert "Webhook https://hooks.example could not be told: the answer was 500." in text
    assert "fine.example" not in text


def test_figures_that_are_not_known_are_a_dash() -> None:
    record = a_record(
        rows_per_second=None, core_seconds=float("nan"), seconds={"score": float("nan"), "total": "nan"}
    )
    text = Page(report.render_run(RunDetail(record, quarantine_examples=(an_example(),)))).text
    assert "nan" not in text.lower()
    assert "None" not in text
    assert f"Throughput {DASH}" in text


def test_long_values_are_cut() -> None:
    example = an_example(row={f"c{i}": "x" * 5000 for i in range(40)})
    html = report.render_run(RunDetail(a_record(), quarantine_examples=(example,)))
    assert "x" * 200 not in html
    assert "24 more columns" in html


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        (figures.count, 1234567, "1,234,567"),
        (figures.count, None, DASH),
        (figures.percent, 0, "0 %"),
        (figures.percent, 1, "100 %"),
        (figures.percent, 0.00001, "< 0.01 %"),
        (figures.percent, 0.0005, "0.05 %"),
        (figures.percent, 0.01, "1.0 %"),
        (figures.percent, 0.12, "12.0 %"),
        (figures.percent, 0.9995, "99.95 %"),
        (figures.percent, 0.9999999, "> 99.99 %"),
        (figures.percent, "nan", DASH),
        (figures.seconds, 0.317, "0.32 s"),
        (figures.seconds, 1234.56, "1,234.6 s"),
        (figures.size, 999, "999 bytes"),
        (figures.size, 734_003_200, "734.0 MB"),
        (figures.size, 5e15, "5,000.0 TB"),
        (figures.figure, 0.00004, "4.0e-05"),
        (figures.figure, 12345.6, "12,346"),
        (figures.figure, float("inf"), DASH),
        (figures.decimals, 0.00458, "0.005"),
        (figures.clip, float("nan"), DASH),
        (figures.clip, 0.1 + 0.2, "0.3"),
        (figures.clip, "x" * 200, "x" * 119 + "…"),
        (figures.clip, "a\0b\x1b[31m\u202ec\ud800", "a\ufffdb\ufffd[31m\ufffdc\ufffd"),
        (figures.clip, "two\nlines\t\u05d0\u05d1", "two\nlines\t\u05d0\u05d1"),
    ],
)
def test_figures_have_sensible_digits_and_units(form: Any, value: Any, said: str) -> None:
    assert form(value) == said


def test_an_index_without_runs_says_so() -> None:
    assert "No run has been recorded yet." in Page(report.render_index([])).text
