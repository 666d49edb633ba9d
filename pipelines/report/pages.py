"""The pages: a record and what else is known, put into the templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from pipelines.records import CheckOutcome, RunDetail, RunRecord
from pipelines.report import figures
from pipelines.report.charts import histogram, moment, trends
from pipelines.report.columns import column_drifts, sentences, statistics
from pipelines.report.words import STATUS_WORDS, headline, quarantined_share, summary, tone

if TYPE_CHECKING:
    from jinja2 import Environment

LARGE_CHARTS = 12  # drifted columns beyond these share the compact table: the page stays mailable


def render_run(detail: RunDetail, previous: Sequence[RunRecord] = ()) -> str:
    """The page of one run as HTML text (UTF-8, no references to anything outside itself).

    Args:
        detail: the run's record and whatever else is known; empty parts are left out of the page.
        previous: earlier runs of the same pipeline in any order, for the trends; may be empty.
    """
    record = detail.record
    columns = column_drifts(detail.drift, detail.distributions)
    drifted = [c for c in columns if c.verdict == "drift"]
    suites = _suites(record, detail.checks)
    template = _environment().get_template("run.html.j2")
    return template.render(
        record=record,
        headline=headline(record),
        tone=tone(record),
        summary=summary(record),
        suites=suites,
        failed_checks=sum(s["failed"] for s in suites),
        drifting=len(drifted),
        drifted=drifted[:LARGE_CHARTS],
        others=columns[len(drifted[:LARGE_CHARTS]) :],
        table_findings=[f for f in detail.drift if f.column_name == ":table"],
        examples=detail.quarantine_examples,
        trends=trends([*previous, record]) if previous else (),
    )


def render_index(records: Sequence[RunRecord], href: Callable[[RunRecord], str | None]) -> str:
    """The index over all runs of a pipeline as HTML text, newest first.

    Args:
        records: in any order; may be empty.
        href: the address of a run's page relative to the index, or None where there is none.
    """
    newest = sorted(records, key=moment, reverse=True)
    name = newest[0].name if newest else ""
    template = _environment().get_template("index.html.j2")
    return template.render(records=newest, name=name, href=href, trends=trends(newest))


def _suites(record: RunRecord, checks: Sequence[CheckOutcome]) -> list[dict[str, Any]]:
    """Both suites with their outcomes; a suite that only the record knows has no outcomes."""
    suites = []
    for kind in ("input", "output"):
        outcomes = [c for c in checks if c.suite == kind]
        known = record.checks.get(kind)
        if outcomes or known:
            failed = sum(not c.success for c in outcomes) or len((known or {}).get("failed") or ())
            suites.append({"kind": kind, "known": known or {}, "outcomes": outcomes, "failed": failed})
    return suites


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pipelines"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (
        figures.clip,
        figures.count,
        figures.decimals,
        figures.number,
        figures.percent,
        figures.plural,
        figures.seconds,
        figures.size,
        headline,
        histogram,
        quarantined_share,
        sentences,
        statistics,
        tone,
    )
    environment.filters |= {f.__name__: f for f in filters}
    environment.globals["status_words"] = STATUS_WORDS
    return environment
