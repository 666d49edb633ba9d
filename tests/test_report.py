"""The page says what the record says, to a manager and to an attacker alike."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines import report
from pipelines.records import CheckOutcome, Distribution, DriftFinding, RunDetail, RunRecord
from pipelines.report import charts, columns, figures, words

DASH = "\u2013"
HOSTILE = '<script>alert(1)</script>"\' onload="x"><img src=https://evil.example/x>'
VOID = {"meta", "link", "br", "img", "hr", "input", "base", "col"}


class Page(HTMLParser):
    """What a browser would make of the text: elements, attributes, and the text outside of style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.misnested: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.misnested.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.elements if name in attrs]


def a_suite(name: str, evaluated: int) -> dict[str, Any]:
    return {
        "suite": name,
        "success": True,
        "evaluated": evaluated,
        "failed": [],
        "extra_passes": 0,
        "extra": [],
    }


def a_record(**changes: Any) -> RunRecord:
    known: dict[str, Any] = {
        "name": "machine-failure",
        "run_id": "r3f9c2d81a7",
        "run_date": "2026-11-22",
        "status": "published",
        "exit_code": 0,
        "started_at": "2026-11-22T02:00:03Z",
        "model": {
            "name": "machine-failure",
            "version": "3",
            "alias": "champion",
            "digest": "9c1e" * 16,
            "flavor": "sklearn",
            "uri": "models:/machine-failure@champion",
        },
        "inputs": {
            "files": 8,
            "bytes": 734_003_200,
            "digest": "ab12" * 16,
            "format": "parquet",
            "path": "data/machines/2026-11-22",
            "config_digest": "77aa" * 16,
        },
        "rows": {"read": 1_250_000, "scored": 1_249_100, "quarantined": 900},
        "quarantined_by": {"expect_column_values_to_be_between(air)": 700, "not_null(torque)": 350},
        "checks": {
            "input": a_suite("machines-in", 12),
            "output": a_suite("machines-out", 2),
        },
        "drift": {"status": "ok", "columns": [], "reference": "model baseline", "judged": 5},
        "seconds": {"resolve": 1.31, "read": 0.42, "score": 31.07, "publish": 2.5, "total": 36.4},
        "rows_per_second": 40_231.4,
        "core_seconds": 58.21,
        "peak_worker_rss_mb": 312.0,
        "spark": {"version": "4.1.4", "master": "local[2]"},
        "paths": {"predictions": "out/machine-failure/predictions/run_date=2026-11-22/run_id=r3f9c2d81a7"},
    }
    return RunRecord(**{**known, **changes})


def a_finding(column: str = "torque", verdict: str = "ok", **changes: Any) -> DriftFinding:
    known: dict[str, Any] = {
        "column_name": column,
        "data_type": "double",
        "drift_type": "BASELINE",
        "verdict": verdict,
        "statistic": "wasserstein",
        "threshold": 0.1,
        "n_ref": 800_000,
        "n_cur": 1_249_100,
        "js_distance": 0.31 if verdict == "drift" else 0.012,
        "wasserstein_distance": 1.4 if verdict == "drift" else 0.008,
        "population_stability_index": 0.2,
        "ks_statistic": 0.11,
        "ks_pvalue": 0.0,
        "avg_delta": 3.25,
    }
    return DriftFinding(**{**known, **changes})


def a_plot(column: str = "torque", bins: int = 20, shift: int = 0) -> Distribution:
    weights = [1 + min(i, bins - i) for i in range(bins)]
    shares = tuple(w / sum(weights) for w in weights)
    moved = shares[-shift:] + shares[:-shift] if shift else shares
    labels = tuple(f"({3.5 * i:.1f}, {3.5 * (i + 1):.1f}]" for i in range(bins))
    return Distribution(column, "numeric", (*labels, "null"), (*shares, 0.0), (*moved, 0.0))


def a_check(rule: str = "expect_column_values_to_not_be_null(torque)", **changes: Any) -> CheckOutcome:
    known: dict[str, Any] = {
        "suite": "input",
        "rule": rule,
        "expectation_type": rule.split("(", maxsplit=1)[0],
        "severity": "critical",
        "success": True,
        "column": "torque",
        "element_count": 1_250_000,
        "unexpected_count": 0,
        "unexpected_percent": 0.0,
        "missing_count": 0,
    }
    return CheckOutcome(**{**known, **changes})


def an_example(**changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "stage": "input",
        "reasons": ["not_null(torque)"],
        "source_file": "data/machines/2026-11-22/part-3.parquet",
        "row": {"machine_id": 4711, "torque": None, "air_temperature": float("nan")},
    }
    return {**known, **changes}


GOOD = RunDetail(
    a_record(),
    checks=(a_check(), a_check("expect_table_row_count(1)", element_count=None, unexpected_count=None)),
    drift=(a_finding(), a_finding(":table", count_delta=449_100)),
    distributions=(a_plot(),),
    quarantine_examples=(an_example(),),
)
CATEGORY = Distribution(
    "type", "categorical", ("L", "M", "H", "other"), (0.5, 0.3, 0.2, 0.0), (0.2, 0.2, 0.2, 0.4)
)
DRIFT = RunDetail(
    a_record(
        exit_code=10, drift={"status": "drift", "columns": ["torque", "type"], "reference": "model baseline"}
    ),
    drift=(
        a_finding("speed"),
        a_finding(
            "type",
            "drift",
            statistic="js_distance",
            wasserstein_distance=None,
            js_distance=0.44,
            avg_delta=None,
        ),
        a_finding("torque", "drift"),
        a_finding("few", "insufficient_data", n_cur=8, js_distance=None, wasserstein_distance=None),
    ),
    distributions=(a_plot("speed"), a_plot("torque", shift=4), CATEGORY),
)
REFUSED = RunDetail(
    a_record(
        status="refused",
        exit_code=65,
        rows={"read": 1000, "scored": 880, "quarantined": 120},
        checks={"max_quarantined": 0.01},
        quarantined_by={"not_null(torque)": 120},
        error={"class": "DataRefused", "message": "120 of 1,000 rows.", "hint": "Look at the quarantine."},
    ),
    quarantine_examples=(an_example(),),
)
FAILED = RunDetail(
    RunRecord(
        name="machine-failure",
        run_id="r1",
        run_date="2026-11-22",
        status="failed",
        exit_code=69,
        started_at="2026-11-22T02:00:03Z",
        error={"class": "ModelUnavailable", "message": "No registry at sqlite:///x.db.", "hint": "Start it."},
    )
)
ALREADY = RunDetail(a_record(status="already_published", rows={}, quarantined_by={}, checks={}, drift={}))
DRY = RunDetail(
    a_record(status="dry_run", rows={}, quarantined_by={}, checks={}, drift={}, seconds={}, paths={})
)
BARE = RunDetail(dataclasses.replace(FAILED.record, error=None))
EVERY_KIND = {
    "good": GOOD,
    "drift": DRIFT,
    "refused": REFUSED,
    "failed": FAILED,
    "already": ALREADY,
    "dry": DRY,
    "bare": BARE,
}


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


def hostile_detail() -> RunDetail:
    record = a_record(
        name=HOSTILE,
        run_id=HOSTILE,
        model={"name": HOSTILE, "version": HOSTILE, "digest": HOSTILE, "uri": HOSTILE},
        inputs={"path": HOSTILE, HOSTILE: HOSTILE, "config_digest": HOSTILE},
        quarantined_by={HOSTILE: 3},
        checks={"input": {"suite": HOSTILE, "failed": [HOSTILE], "extra": [HOSTILE], "extra_passes": 1}},
        drift={"status": "drift", "columns": [HOSTILE], "reference": HOSTILE},
        seconds={HOSTILE: 1.0, "total": 1.0},
        paths={HOSTILE: HOSTILE},
        spark={HOSTILE: HOSTILE},
        warnings=(HOSTILE,),
        error={"class": HOSTILE, "message": HOSTILE, "hint": HOSTILE},
    )
    return RunDetail(
        record,
        checks=(a_check(HOSTILE, column=HOSTILE, success=False, observed_value=HOSTILE, exception=HOSTILE),),
        drift=(
            a_finding(HOSTILE, "drift", statistic=HOSTILE),
            a_finding(HOSTILE * 2, "drift"),
            a_finding(HOSTILE * 3),
        ),
        distributions=(
            Distribution(HOSTILE, "categorical", (HOSTILE, "b"), (0.5, 0.5), (0.4, 0.6)),
            Distribution(HOSTILE * 2, "numeric", (HOSTILE, "b"), (0.5, 0.5), (0.4, 0.6)),
            Distribution(HOSTILE * 3, "numeric", (HOSTILE, "b"), (0.5, 0.5), (0.4, 0.6)),
        ),
        quarantine_examples=(
            an_example(stage=HOSTILE, reasons=[HOSTILE], source_file=HOSTILE, row={HOSTILE: HOSTILE}),
        ),
    )


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


def test_a_hostile_name_stays_text_in_the_index() -> None:
    html = report.render_index([a_record(name=HOSTILE, drift={"columns": [HOSTILE]})], lambda r: r.name)
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.attributes("href") == [HOSTILE]


def numbers_of(html: str, row: str) -> list[int]:
    """The whole numbers in the cells of the table row whose header is ``row``."""
    found = re.search(rf'<th scope="row"[^>]*>{re.escape(row)}</th>(.*?)</tr>', html, re.DOTALL)
    assert found, row
    return [int(n.replace(",", "")) for n in re.findall(r'<td class="num">([\d,]+)</td>', found[1])]


@pytest.mark.parametrize("detail", [GOOD, REFUSED], ids=["good", "refused"])
def test_the_picture_of_the_rows_adds_up_and_covers_the_whole_width(detail: RunDetail) -> None:
    html = report.render_run(detail)
    read, scored, quarantined = (numbers_of(html, k)[0] for k in ("Read", "Scored", "Quarantined"))
    assert read == scored + quarantined == detail.record.rows["read"]
    assert "Not accounted for" not in html
    bars = re.findall(r'class="fill[^"]*" x="([\d.]+)%" width="([\d.]+)%"', html)[:3]
    (_, whole), (start, width), (after, rest) = [(float(x), float(w)) for x, w in bars]
    assert (whole, start) == (100.0, 0.0)
    assert after + rest == pytest.approx(100.0)
    assert after <= start + width + 0.001


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
    ],
)
def test_figures_have_sensible_digits_and_units(form: Any, value: Any, said: str) -> None:
    assert form(value) == said


def some_runs() -> list[RunRecord]:
    return [
        a_record(run_date="2026-11-20"),
        REFUSED.record,
        a_record(run_date="2026-11-21", drift={"status": "drift", "columns": ["a"], "judged": 4}),
        dataclasses.replace(FAILED.record, run_date="2026-11-19"),
    ]


def test_the_index_lists_the_newest_run_first_and_links_to_pages_that_exist() -> None:
    page = Page(report.render_index(some_runs(), lambda r: f"{r.run_date}.html" if r.rows else None))
    assert page.attributes("href") == ["2026-11-22.html", "2026-11-21.html", "2026-11-20.html"]
    assert f"2026-11-19 Failed {DASH} {DASH}" in page.text
    assert (page.misnested, page.open) == ([], [])


def no_page(_: RunRecord) -> None:
    return None


def test_the_index_draws_four_trends_between_their_lowest_and_highest_values() -> None:
    html = report.render_index(some_runs(), no_page)
    titles = re.findall(r"<title>([^<]+: between [^<]+)</title>", html)
    assert [t.split(" from ")[0] for t in titles] == [
        "Rows read",
        "Quarantined",
        "Drifted columns",
        "Duration",
    ]
    assert titles[0].endswith("between 1,000 and 1,250,000, last 1,000")
    assert titles[2].endswith("between 0 % and 25.0 %, last 0 %")


def test_drifted_columns_are_counted_where_the_number_of_judged_ones_is_not_known() -> None:
    drifts = [{"status": "ok", "columns": []}, {"status": "drift", "columns": ["a", "b"]}, {"status": "none"}]
    runs = [a_record(run_date=f"2026-11-2{i}", drift=d) for i, d in enumerate(drifts)]
    assert "Drifted columns from 2026-11-20 to 2026-11-21: between 0 and 2, last 2" in report.render_index(
        runs, no_page
    )


def test_an_index_without_runs_says_so() -> None:
    assert "No run has been recorded yet." in Page(report.render_index([], no_page)).text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_contrasts_with_its_ground_in_both_themes(theme: str) -> None:
    style = report.render_index([], no_page)
    blocks = re.findall(r":root \{(.*?)\n *\}", style, re.DOTALL)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[0 if theme == "light" else 1]))
    for ink in ("ink", "muted", "accent", "good", "warn", "bad", "plain"):
        for ground in ("paper", "panel"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast(colours["ink"], colours["bad-soft"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two sRGB colours (WCAG 2.2, relative luminance)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
