"""Propose a configuration and expectation suites for a model: the first command of a new pipeline.

``python -m jobs.init_pipeline --model models:/NAME@champion --sample data/NAME/2026-11-22``. Standard output
carries one line of JSON that lists the files; what a person wants to know goes to standard error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, only its own folder is there

import click

from jobs.logs import log_to_stderr
from jobs.streams import claim_stdout
from pipelines.errors import ScorelineError, Stopped, UsageWrong
from pipelines.redaction import redact


def main() -> None:
    """Run the command and leave with the exit code of the contract."""
    line = claim_stdout()
    try:
        code = command.main(standalone_mode=False, obj=line)
    except click.ClickException as error:
        code = _refuse(line, UsageWrong(error.format_message(), hint="See --help."))
    except click.exceptions.Abort:  # click's word for KeyboardInterrupt
        code = _refuse(line, Stopped())
    line.flush()
    sys.exit(code)


@click.command()
@click.option(
    "--model", required=True, metavar="URI", help="models:/NAME@alias, models:/NAME/VERSION or a folder."
)
@click.option(
    "--sample", required=True, metavar="PATH", help="Input of one date: a folder, a file or a glob."
)
@click.option("--name", help="Name of the pipeline; by default the model's.")
@click.option("--key", multiple=True, metavar="COLUMN", help="Column that identifies a row; may be repeated.")
@click.option("--out", default="conf", show_default=True, help="Folder for the configuration.")
@click.option(
    "--tracking-uri", metavar="URI", help="MLflow; by default MLFLOW_TRACKING_URI, else sqlite:///mlflow.db."
)
@click.option(
    "--allow-pickle", is_flag=True, help="The model may be one that can run code while it is loaded."
)
@click.option("--force", is_flag=True, help="Write over files that exist.")
@click.pass_obj
def command(line: TextIO, **options: Any) -> int:
    """Write NAME.yaml and two expectation suites that run as they are."""
    log_to_stderr("text")
    from pipelines.scaffold import Scaffold, Wish, scaffold

    try:
        done: Scaffold = scaffold(Wish(**options))
    except ScorelineError as error:
        return _refuse(line, error)
    except Exception as error:  # ours: still one line on standard output
        return _refuse(line, ScorelineError(f"{type(error).__name__}: {error}", hint="Please report this."))
    print(_told(done.to_dict()), file=sys.stderr)
    print(json.dumps({"status": "written", "exit_code": 0, **done.to_dict()}), file=line)
    return 0


def _told(done: dict[str, Any]) -> str:
    """What a person wants to know."""
    renamed = ", ".join(f"{k} = {v}" for k, v in done["columns"].items())
    day = done["run_date"] or "YYYY-MM-DD"
    return "\n".join([
        f"{done['name']}: {done['model_id']}, {done['rows_looked_at']} rows of the sample looked at.",
        f"  key: {', '.join(done['key']) or 'none found; choose one with --key'}",
        *([f"  columns that are spelled otherwise: {renamed}"] if renamed else []),
        *(f"  expectations on the {kind}: {n}" for kind, n in done["expectations"].items()),
        *(f"  note: {text}" for text in done["warnings"]),
        *(f"  wrote {file}" for file in done["files"]),
        f"Next: python -m jobs.run_batch --config {done['files'][0]} --run-date {day} --dry-run",
    ])  # fmt: skip


def _refuse(line: TextIO, error: ScorelineError | Stopped) -> int:
    message = redact(error.message, ())
    print(f"{message} {error.hint}", file=sys.stderr)
    explained = {"class": type(error).__name__, "message": message, "hint": error.hint}
    print(json.dumps({"status": "failed", "exit_code": error.exit_code, "error": explained}), file=line)
    return error.exit_code


if __name__ == "__main__":
    main()
