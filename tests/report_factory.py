"""Records and details of runs of every kind, for the tests of the pages, and what a browser makes of a page."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from typing import Any

from pipelines.records import CheckOutcome, Distribution, DriftFinding, RunDetail, RunRecord

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
