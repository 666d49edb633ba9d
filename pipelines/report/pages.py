"""The pages: a record and what else is known, put into the templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pipelines.records import CheckOutcome, DriftFinding, RunDetail, RunRecord
from pipelines.report import figures
from pipelines.report.charts import histogram
from pipelines.report.columns import column_drifts, most_changed, sentences, statistics
from pipelines.report.flows import flow
from pipelines.report.multiples import NO_OPS, groups, moment, per_million
from pipelines.report.reasons import reasons
from pipelines.report.wholes import TABLE, slices, table_sentences
from pipelines.report.words import STATUS_WORDS, headline, quality_words, quarantined_share, summary, tone

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
    large = most_changed(columns, LARGE_CHARTS)
    suites = _suites(record, detail.checks)
    return _rendered(
        "run.html.j2",
        record=record,
        headline=headline(record),
        tone=tone(record),
        summary=summary(record),
        suites=suites,
        failed_checks=sum(s["failed"] for s in suites),
        drifting=sum(c.verdict == "drift" for c in columns),
        decisive=sum(bool(c.findings) and c.findings[0].verdict == "drift" for c in columns),
        changed=large,
        others=[c for c in columns if c not in large],
        about_table=[s for f in detail.drift if _of_table(f) for s in table_sentences(f)],
        slices=slices(detail.drift),
        reasons=reasons(record, detail.quarantine_examples),
        examples=detail.quarantine_examples,
        flow=flow(record),
        groups=groups([*previous, record], _no_page) if previous else (),
        per_million=per_million(record),
    )


def page_address(record: RunRecord) -> str | None:
    """Where a run's page is, as seen from the index: folder of its date and file name, or None.

    Only the end of the recorded path counts, so that the links survive when the folder is moved.
    """
    path = PurePosixPath(record.paths.get("report") or "")
    return "/".join(path.parts[-2:]) if len(path.parts) > 1 else None


def render_index(records: Sequence[RunRecord], href: Callable[[RunRecord], str | None] = page_address) -> str:
    """The index over all runs of a pipeline as HTML text, newest first.

    Attempts that did nothing (the date was published already, or a dry run) are counted, not listed.

    Args:
        records: in any order; may be empty.
        href: the path of a run's page relative to the index, or None where there is none.
    """
    newest = sorted((r for r in records if r.status not in NO_OPS), key=moment, reverse=True)
    name = next((r.name for r in records), "")
    return _rendered(
        "index.html.j2",
        records=newest,
        name=name,
        href=lambda record: _address(href(record)),
        groups=groups(newest, lambda record: _address(href(record))),
        no_ops=len(records) - len(newest),
        labelled=any(r.quality for r in newest),
    )


def _rendered(template: str, **values: Any) -> str:
    """The page; half characters, which no file can hold, become question marks."""
    html = _environment().get_template(template).render(values)
    return html.encode("utf-8", "replace").decode("utf-8")


def _no_page(_: RunRecord) -> None:
    """A page that may be mailed links to no other."""


def _address(path: str | None) -> str | None:
    """A path as a relative address: what a name holds is never a scheme, a query or another host."""
    return None if path is None else "./" + quote(path, safe="/=", errors="replace")


def _of_table(finding: DriftFinding) -> bool:
    return finding.column_name == TABLE and finding.slice_key is None


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
        quality_words,
        quarantined_share,
        sentences,
        statistics,
        tone,
    )
    environment.filters |= {f.__name__: f for f in filters}
    environment.globals["status_words"] = STATUS_WORDS
    return environment
