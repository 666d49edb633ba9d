"""The pages in a real browser: nothing runs, nothing is fetched, nothing overflows, links lead where they say."""

from __future__ import annotations

import dataclasses
import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_factory import (
    DRIFT,
    EVERY_KIND,
    REFUSED,
    a_check,
    a_finding,
    a_plot,
    a_record,
    an_example,
    hostile_detail,
)

from pipelines import report
from pipelines.records import Distribution, RunDetail, RunRecord
from scripts import browser, screenshots

CHROMIUM = browser.found()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")

PHONE, DESK = (360, 740), (1100, 800)
# What would show if it were ever more than text: a dialog, a request, a class, a cookie, an address, a title.
HOSTILE = {
    "script": "<script>alert(1)</script>",
    "handler": '"><img src=x onerror=alert(1)>',
    "single quotes": "' onmouseover='alert(1)' x='",
    "address": "javascript:alert(1)",
    "end of style": "</style></title><script>alert(1)</script>",
    "svg": "<svg onload=alert(1)><a href='javascript:alert(1)'>x</a></svg>",
    "load": "<link rel=stylesheet href=https://evil.example/x.css><base href=https://evil.example/>",
    "template": "{{ 7 * 7 }}{% for i in range(9) %}",
    "entity": "&lt;script&gt;alert(1)&#0;&#x202e;",
    "right to left": "\u202egnp.tpircs\u202c \u05e2\u05d1\u05e8\u05d9\u05ea",
    "control characters": "a\0b\x1b[31m\r\n\x08c\ufffe",
    "lone surrogate": "a\ud800b",
    "ten thousand characters": "W" * 10_000,
    "combining": "Z" + "\u0351" * 200,
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    assert CHROMIUM is not None
    with browser.browser(CHROMIUM) as tab:
        yield tab


@pytest.fixture
def shown(chromium: browser.Browser, tmp_path: Path) -> Any:
    """Shows HTML in the browser and returns the tab."""

    def show(html: str, size: tuple[int, int] = DESK, *, dark: bool = False) -> browser.Browser:
        page = tmp_path / "page.html"
        page.write_bytes(html.encode())
        chromium.open(page, width=size[0], height=size[1], dark=dark)
        return chromium

    return show


def history() -> list[RunRecord]:
    """Ten dates, two columns, a number and a class that are predicted; every run has a page."""

    def distance(day: int) -> dict[str, Any]:
        return {"statistic": "wasserstein", "limit": 0.1, "wasserstein_distance": 0.02 * day, "verdict": "ok"}

    return [
        a_record(
            run_date=f"2026-11-{day:02}",
            run_id=f"r{day}",
            paths={"report": f"out/reports/run_date=2026-11-{day:02}/r{day}.html"},
            drift={
                "status": "ok",
                "columns": [],
                "judged": 2,
                "distances": {"torque": distance(day), "a#b?": distance(1)},
            },
            predictions={"prediction": {"mean": day, "stddev": 2.0}, "label": {"shares": {"L": 0.5}}},
        )
        for day in range(1, 11)
    ]


def with_text(text: str) -> RunDetail:
    """A run in which every name and value that comes from data or a configuration is ``text``."""
    detail = hostile_detail()
    record = dataclasses.replace(
        detail.record,
        model={"name": text, "version": text, "alias": text, "digest": text, "uri": text, "flavor": text},
        inputs={"path": text, text: text, "digest": text},
        rows={"read": 10, "scored": 7, "quarantined": 3},
        quarantined_by={text: 3},
        checks={"input": {"suite": text, "failed": [text], "extra": [text], "extra_passes": 1}},
        drift={"status": "drift", "columns": [text], "reference": text},
        seconds={text: 1.0, "total": 1.0},
        core_seconds_by={text: 1.0},
        spark={text: text},
        paths={text: text, "report": text},
        warnings=(text,),
        error={"class": text, "message": text, "hint": text},
    )
    return RunDetail(
        record,
        checks=(
            a_check(
                text, column=text, success=False, observed_value=text, exception=text, kwargs={text: text}
            ),
        ),
        drift=(a_finding(text, "drift", statistic=text), a_finding(text + "2")),
        distributions=(
            Distribution(text, "categorical", (text, "b"), (0.5, 0.5), (0.4, 0.6)),
            Distribution(text + "2", "numeric", (text, "b"), (0.5, 0.5), (0.4, 0.6)),
        ),
        quarantine_examples=(an_example(stage=text, reasons=[text], source_file=text, row={text: text}),),
    )


def inert(tab: browser.Browser) -> None:
    """Nothing ran, nothing was fetched, nothing complained, nothing sticks out."""
    assert tab.complaints() == []
    assert len(tab.requests()) == 1
    assert tab.evaluate("document.scripts.length") == 0
    assert (
        tab.evaluate("document.querySelectorAll('img, iframe, object, embed, form, link, base').length") == 0
    )
    handlers = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames().filter(n => n.startsWith('on')))"
    assert tab.evaluate(handlers) == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth") is True


@pytest.mark.parametrize(
    "body",
    ["<script>alert(1)</script>", "<svg onload=alert(1)>", "<img src=x>", "<p style='width:9999px'>wide</p>"],
)
def test_what_is_not_inert_is_found_out(shown: Any, body: str) -> None:
    tab = shown(f"<!doctype html><title>x</title>{body}")
    with pytest.raises(AssertionError):
        inert(tab)


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_page_loads_without_complaint_at_every_width(shown: Any, kind: str, size: tuple[int, int]) -> None:
    inert(shown(report.render_run(EVERY_KIND[kind], previous=history()), size))


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_the_index_loads_without_complaint_at_every_width(shown: Any, size: tuple[int, int]) -> None:
    inert(shown(report.render_index(history()), size))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_inert_on_the_page_of_a_run(shown: Any, text: str) -> None:
    tab = shown(report.render_run(with_text(text), previous=history()), PHONE)
    inert(tab)
    assert tab.evaluate("document.querySelectorAll('a').length") == 0


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_inert_on_the_index(shown: Any, text: str) -> None:
    runs = [
        dataclasses.replace(
            run,
            name=text,
            status="failed" if n == 3 else "published",
            error={"message": text} if n == 3 else None,
            drift={**run.drift, "distances": {text: run.drift["distances"]["torque"]}, "columns": [text]},
            predictions={text: {"mean": n, "shares": {text: 0.1 * n}}},
            paths={"report": f"reports/run_date=x/{text}"},
        )
        for n, run in enumerate(history())
    ]
    tab = shown(report.render_index(runs), PHONE)
    inert(tab)
    schemes = tab.evaluate("[...new Set([...document.links].map(a => a.protocol))]")
    assert schemes == ["file:"]


def test_a_click_on_a_hostile_link_runs_nothing(shown: Any) -> None:
    runs = [dataclasses.replace(r, paths={"report": "x/javascript:alert(1)"}) for r in history()]
    tab = shown(report.render_index(runs))
    tab.evaluate("document.querySelector('a.dot').click()")
    assert not [m for name, m in tab.events if name == "Page.javascriptDialogOpening"]


def test_a_point_opens_the_page_of_its_run(chromium: browser.Browser, tmp_path: Path) -> None:
    runs = [
        dataclasses.replace(r, paths={"report": f"reports/run_date={r.run_date}/a #%?{r.run_id}.html"})
        for r in history()
    ]
    (tmp_path / "index.html").write_text(report.render_index(runs))
    for run in runs:
        page = tmp_path / str(report.page_address(run))
        page.parent.mkdir()
        page.write_text(report.render_run(RunDetail(run)))
    chromium.open(tmp_path / "index.html")
    chromium.events.clear()
    chromium.evaluate("document.querySelectorAll('a.dot')[3].click()")
    chromium.wait_for("Page.loadEventFired")
    assert (
        chromium.evaluate("document.querySelector('.kicker').textContent")
        == "machine-failure · run of 2026-11-04"
    )


def test_every_run_can_be_reached_by_keyboard_and_none_twice(shown: Any) -> None:
    tab = shown(report.render_index(history()))
    reachable = tab.evaluate("[...document.links].filter(a => a.tabIndex >= 0).map(a => a.textContent)")
    assert reachable == [r.run_date for r in reversed(history())]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_what_is_drawn_follows_the_colour_scheme(shown: Any, dark: bool) -> None:
    tab = shown(report.render_run(DRIFT), dark=dark)
    ground, ink = tab.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (brightness(ground) < brightness(ink)) is dark


def brightness(colour: str) -> int:
    return sum(int(c) for c in colour.removeprefix("rgb(").removesuffix(")").split(","))


def test_print_is_dark_on_light_and_hides_nothing(shown: Any) -> None:
    tab = shown(report.render_run(DRIFT, previous=history()), dark=True)
    tab.look(*DESK, dark=True, medium="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tables = "[...document.querySelectorAll('details table')]"
    assert tab.evaluate("document.querySelectorAll('details:not([open]) table').length") > 0
    assert tab.evaluate(f"{tables}.filter(e => e.getBoundingClientRect().height === 0).length") == 0


@pytest.mark.parametrize("which", ["run", "index"])
def test_a_screen_reader_is_told_language_landmarks_headings_and_pictures(shown: Any, which: str) -> None:
    tab = shown(
        report.render_run(DRIFT, previous=history()) if which == "run" else report.render_index(history())
    )
    nodes = [n for n in tab.call("Accessibility.getFullAXTree")["nodes"] if not n.get("ignored")]
    by_role: dict[str, list[str]] = {}
    for node in nodes:
        by_role.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    assert tab.evaluate("document.documentElement.lang") == "en"
    assert len(by_role["main"]) == 1
    assert all(by_role["image"])
    assert all(by_role["region"])
    assert all(by_role["table"])
    assert {"columnheader", "rowheader"} <= by_role.keys()
    levels = [
        int(p["value"]["value"])
        for n in nodes
        if n["role"]["value"] == "heading"
        for p in n["properties"]
        if p["name"] == "level"
    ]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_a_page_as_large_as_a_wide_table_makes_it_still_fits_a_phone(shown: Any) -> None:
    names = [f"a_rather_long_name_of_a_sensor_reading_{i:03}" for i in range(120)]
    wide = dataclasses.replace(
        REFUSED,
        checks=tuple(
            a_check(f"expect_column_values_to_be_between({n})", success=i % 2 == 0)
            for i, n in enumerate(names)
        ),
        drift=tuple(a_finding(n, "drift" if i < 30 else "ok") for i, n in enumerate(names)),
        distributions=tuple(a_plot(n, shift=i % 7) for i, n in enumerate(names)),
    )
    inert(shown(report.render_run(wide), PHONE))


def test_the_pictures_of_the_readme_are_taken_in_their_sizes(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    for day in ("2026-03-02", "2026-03-03"):
        (reports / f"run_date={day}").mkdir(parents=True)
        (reports / f"run_date={day}" / "r1.html").write_text(report.render_run(DRIFT))
    (reports / "index.html").write_text(report.render_index(history()))
    made = screenshots.photograph(reports, tmp_path / "images", str(CHROMIUM))
    sizes = {p.stem: struct.unpack(">II", p.read_bytes()[16:24]) for p in made}
    wanted = {p.name: (p.width, p.height) for p in screenshots.PICTURES if p.width > 600}
    assert wanted == {name: size for name, size in sizes.items() if "phone" not in name}
    assert sizes["run-page-phone"] == (780, 2500)  # two dots for a pixel, as phones have them
