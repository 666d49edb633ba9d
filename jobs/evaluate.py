"""Compare published predictions with labels that came later.

``python -m jobs.evaluate --config conf/NAME.yaml --labels data/labels --run-date 2026-11-22``. Standard output
carries exactly one line of JSON; everything else goes to standard error.
"""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, only its own folder is there

import click

from jobs.logs import log_to_stderr
from jobs.run_batch import _day, _failure, _refuse, _stop, _tell, start_sooner
from jobs.streams import claim_stdout
from pipelines.errors import ScorelineError, Stopped, UsageWrong
from pipelines.redaction import redact

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
    sys.exit(code)


@click.command()
@click.option("--config", "path", required=True, help="Configuration file of the pipeline.")
@click.option("--labels", required=True, metavar="PATH", help="A folder or a file, CSV or Parquet.")
@click.option("--run-date", required=True, help="The date whose predictions are labelled, YYYY-MM-DD.")
@click.option("--label-column", default="label", show_default=True, help="Column of the label.")
@click.option("--label-time", metavar="COLUMN", help="When a label was made: the newest of a key counts.")
@click.option(
    "--problem-type",
    type=click.Choice(["classification", "regression"]),
    help="By default, what the type of the predictions says.",
)
@click.option(
    "--classes", default="", metavar="A,B,...", help="The classes in the order of the probabilities."
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Override a configuration value."
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def command(line: TextIO, path: str, run_date: str, log_format: str, **options: Any) -> int:
    """Write quality_metrics for a date whose labels have come, and show them on its page."""
    form = log_to_stderr(log_format)
    from pipelines import load_config
    from pipelines.evaluation import evaluate
    from pipelines.labelled import Request

    wanted = Request(
        path=options["labels"],
        label=options["label_column"],
        time=options["label_time"],
        problem=options["problem_type"],
        classes=tuple(c.strip() for c in options["classes"].split(",") if c.strip()),
    )
    traces = True
    try:
        day = _day("--run-date", run_date).isoformat()
        config = load_config(path, run_date=day, overrides=options["overrides"])
        form.secrets = config.secrets
        traces = not config.quality.sensitive  # a trace quotes what it failed on
        return _tell(line, evaluate(config, wanted).to_dict())
    except ScorelineError as error:
        error.message = redact(error.message, form.secrets)
        log.error("%s", error, exc_info=traces and error.exit_code == 70)
        return _tell(line, _failure(error, run_date))
    except Exception as error:  # ours: still one line on standard output
        log.error("the evaluation could not begin: %s", type(error).__name__, exc_info=traces)
        said = redact(f"{type(error).__name__}: {error}", form.secrets)
        return _tell(line, _failure(ScorelineError(said, hint="The log has the stack trace."), run_date))


if __name__ == "__main__":
    main()
