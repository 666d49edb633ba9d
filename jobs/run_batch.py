"""Score one date, or several: the command that a scheduler starts.

``spark-submit jobs/run_batch.py --config conf/NAME.yaml --run-date 2026-11-22`` or ``python -m jobs.run_batch``.
Standard output carries exactly one line, the run record as JSON; everything else goes to standard error.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # spark-submit puts only this file's folder there

import click

from pipelines.errors import ScorelineError, UsageWrong


def main() -> None:
    """Run the command and leave with the exit code of the contract."""
    line = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is not the record
    try:
        code = command.main(standalone_mode=False, obj=line)
    except click.ClickException as error:
        code = _report(line, UsageWrong(error.format_message(), hint="See --help."))
    except click.exceptions.Abort:
        code = 130
    line.flush()
    sys.exit(code)


@click.command()
@click.option("--config", "path", required=True, help="Configuration file.")
@click.option("--run-date", help="Logical date, YYYY-MM-DD.")
@click.option("--from", "first", help="First date of a backfill.")
@click.option("--to", "last", help="Last date of a backfill.")
@click.option("--keep-going", is_flag=True, help="Go on with later dates after one has failed.")
@click.option("--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a configuration value.")
@click.option("--dry-run", is_flag=True, help="Resolve, plan and check; write nothing.")
@click.option("--force", is_flag=True, help="Publish a superseding run for a date that is already published.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def command(line: Any, log_format: str, first: str | None, last: str | None, keep_going: bool, **options: Any) -> int:
    """Score one date (--run-date) or each date of a range (--from, --to)."""
    _log_to_stderr(log_format)
    try:
        days = _days(options.pop("run_date"), first, last)
    except ScorelineError as error:
        return _report(line, error)
    records = []
    for day in days:
        records.append(_one(day, **options))
        if records[-1]["exit_code"] not in (0, 10) and not keep_going:
            break
    print(json.dumps(_summary(records) if len(days) > 1 else records[0]), file=line)
    return max((r["exit_code"] for r in records), default=0)


def _one(day: str, path: str, overrides: tuple[str, ...], force: bool, dry_run: bool) -> dict[str, Any]:
    from pipelines import load_config, run_batch

    try:
        config = load_config(path, run_date=day, overrides=overrides)
        return run_batch(config, force=force, dry_run=dry_run).to_dict()
    except ScorelineError as error:
        logging.getLogger("scoreline").error("%s", error, exc_info=error.exit_code == 70)
        return error.record.to_dict() if error.record else _failure(error, day)


def _days(run_date: str | None, first: str | None, last: str | None) -> list[str]:
    if run_date and not (first or last):
        return [run_date]
    if not (first and last) or run_date:
        raise UsageWrong("found neither --run-date nor --from with --to, or both.", hint="Give one or the other.")
    try:
        start, end = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError as error:
        raise UsageWrong(f"--from/--to: {error}.", hint="Write dates as YYYY-MM-DD.") from error
    if end < start:
        raise UsageWrong(f"--from {first} is after --to {last}.", hint="Swap them.")
    return [(start + timedelta(n)).isoformat() for n in range((end - start).days + 1)]


def _summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    worst = max(r["exit_code"] for r in records)
    status = "published" if worst in (0, 10) else "failed"
    return {"name": records[0].get("name"), "status": status, "exit_code": worst, "runs": records}


def _failure(error: ScorelineError, day: str | None = None) -> dict[str, Any]:
    explained = {"class": type(error).__name__, "message": error.message, "hint": error.hint}
    return {"status": "failed", "exit_code": error.exit_code, "run_date": day, "error": explained}


def _report(line: Any, error: ScorelineError) -> int:
    print(error, file=sys.stderr)
    print(json.dumps(_failure(error)), file=line)
    return error.exit_code


def _log_to_stderr(log_format: str) -> None:
    text = '{"time":"%(asctime)s","level":"%(levelname)s","message":"%(message)s"}'
    form = text if log_format == "json" else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=form)
    logging.getLogger("scoreline").setLevel(logging.INFO)


if __name__ == "__main__":
    main()
