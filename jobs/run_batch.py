"""Score one date, or several: the command that a scheduler starts.

``spark-submit jobs/run_batch.py --config conf/NAME.yaml --run-date 2026-11-22`` or ``python -m jobs.run_batch``.
Standard output carries exactly one line, the run record as JSON; everything else goes to standard error.
"""

from __future__ import annotations

import gc
import json
import logging
import signal
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # spark-submit puts only this file's folder there

import click

from jobs.logs import SafeFormatter, log_to_stderr
from jobs.progress import told, watched
from jobs.streams import claim_stdout
from pipelines import jvm_warmup
from pipelines.errors import ScorelineError, Stopped, UsageWrong
from pipelines.launch import import_compiled_spark, import_when_used

log = logging.getLogger("scoreline")


def main() -> None:
    """Run the command and leave with the exit code of the contract."""
    line = claim_stdout()
    start_sooner()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        code = command.main(standalone_mode=False, obj=line)
    except click.ClickException as error:
        code = _refuse(line, UsageWrong(error.format_message(), hint="See --help."))
    except click.exceptions.Abort as abort:  # click's word for KeyboardInterrupt
        stopped = abort.__cause__ if isinstance(abort.__cause__, Stopped) else Stopped()
        code = _refuse(line, stopped)
    line.flush()
    gc.freeze()  # or the interpreter looks for garbage in all of it once more, for a second or two, before it ends
    sys.exit(code)


def start_sooner() -> None:
    """What a command does for itself that a library may not do for the process which imports it (docs/adr/0015)."""
    # imports make millions of objects that stay: to look for garbage among them after every 700 is a fifth of the time
    gc.set_threshold(50_000, 20, 100)
    import_compiled_spark()
    import_when_used()
    jvm_warmup.begin()


@click.command()
@click.option("--config", "path", required=True, help="Configuration file.")
@click.option("--run-date", help="Logical date, YYYY-MM-DD.")
@click.option("--from", "first", help="First date of a backfill.")
@click.option("--to", "last", help="Last date of a backfill.")
@click.option("--keep-going", is_flag=True, help="Go on with later dates after one has failed.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a configuration value."
)
@click.option("--dry-run", is_flag=True, help="Resolve, plan and check; write nothing.")
@click.option("--force", is_flag=True, help="Publish a superseding run for a date that is already published.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def command(
    line: TextIO, log_format: str, first: str | None, last: str | None, keep_going: bool, **options: Any
) -> int:
    """Score one date (--run-date) or each date of a range (--from, --to)."""
    form = log_to_stderr(log_format)
    try:
        days = _days(options.pop("run_date"), first, last)
    except UsageWrong as error:
        return _refuse(line, error)
    records: list[dict[str, Any]] = []
    for day in days:
        records.append(_one(day, form, first=not records, **options))
        told(records[-1], sys.stderr)
        if records[-1]["exit_code"] not in (0, 10) and not keep_going:
            break
    return _tell(line, _summary(records) if len(days) > 1 else records[0])


def _one(
    day: str,
    form: SafeFormatter,
    first: bool,
    path: str,
    overrides: tuple[str, ...],
    force: bool,
    dry_run: bool,
) -> dict[str, Any]:
    traces = True
    form.forget()
    try:
        from pipelines import load_config, run_batch  # here, so that a broken library is told like all else
        from pipelines.launch import seconds_since_launch

        config = load_config(path, run_date=day, overrides=overrides)
        form.secrets = config.secrets
        traces = not config.quality.sensitive  # a trace quotes what it failed on
        with watched(config, sys.stderr):
            launch = seconds_since_launch() if first else None
            return run_batch(config, force=force, dry_run=dry_run, launch=launch).to_dict()
    except ScorelineError as error:
        log.error("%s", error, exc_info=traces and error.exit_code == 70)
        return error.record.to_dict() if error.record else _failure(error, day)
    except Exception as error:  # ours, before there was a run to record it
        log.exception("the run could not begin")
        return _failure(
            ScorelineError(f"{type(error).__name__}: {error}", hint="The log has the stack trace."), day
        )


def _days(run_date: str | None, first: str | None, last: str | None) -> list[str]:
    if run_date and not (first or last):
        return [_day("--run-date", run_date).isoformat()]
    if not (first and last) or run_date:
        raise UsageWrong(
            "found neither --run-date nor --from with --to, or both.", hint="Give one or the other."
        )
    start, end = _day("--from", first), _day("--to", last)
    if end < start:
        raise UsageWrong(f"--from {first} is after --to {last}.", hint="Swap them.")
    return [(start + timedelta(n)).isoformat() for n in range((end - start).days + 1)]


def _day(option: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise UsageWrong(
            f"{option}: found {text!r}, expected a date such as 2026-11-22.", hint="Write YYYY-MM-DD."
        )
    return day


def _summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """One line for a range: ``runs`` are the records; the status is theirs where they all have the same."""
    statuses = {r["status"] for r in records}
    worst = max(r["exit_code"] for r in records)
    status = statuses.pop() if len(statuses) == 1 else "published" if worst in (0, 10) else "failed"
    return {"name": records[0].get("name"), "status": status, "exit_code": worst, "runs": records}


def _failure(error: ScorelineError | Stopped, day: str | None = None) -> dict[str, Any]:
    """The line of a run that has no record of its own."""
    if error.record is not None:
        found: dict[str, Any] = error.record.to_dict()
        return found
    explained = {"class": type(error).__name__, "message": error.message, "hint": error.hint}
    return {"status": "failed", "exit_code": error.exit_code, "run_date": day, "error": explained}


def _stop(number: int, frame: Any) -> None:
    signal.signal(number, signal.SIG_DFL)  # who asks twice does not want to wait for the tidying up
    raise Stopped(number)


def _refuse(line: TextIO, error: ScorelineError | Stopped) -> int:
    log.error("%s %s", error.message, error.hint)
    return _tell(line, _failure(error))


def _tell(line: TextIO, content: dict[str, Any]) -> int:
    """Print the line; returns its exit code."""
    print(json.dumps(content), file=line)
    return int(content["exit_code"])


if __name__ == "__main__":
    main()
