"""``python -m scripts.bench``: a set of cases, or one; keeps JSON and generates the page."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from scripts.bench import inputs, tables
from scripts.bench.cases import FORMATS, KINDS, MODELS, Case, matrix, quick, usual
from scripts.bench.measure import FAILED, Contender, Series, interleaved


@click.command()
@click.option("--case", "kind", type=click.Choice(KINDS), help="Measure one case instead of a set.")
@click.option("--model", type=click.Choice(MODELS), default="logistic", show_default=True)
@click.option("--format", "form", type=click.Choice(FORMATS), default="parquet", show_default=True)
@click.option("--columns", default=20, show_default=True)
@click.option("--mixed", is_flag=True, help="Doubles, whole numbers and texts instead of doubles alone.")
@click.option("--rows", type=int, help="Rows of the base case.  [default: 4000000; cold: 10000]")
@click.option("--rounds", default=5, show_default=True)
@click.option("--all", "everything", is_flag=True, help="The whole matrix (hours).")
@click.option(
    "--quick", "quickly", is_flag=True, help="Few rows, one round: a look at whether all of it runs."
)
@click.option("--peers/--no-peers", default=True, help="Include what needs environments of its own.")
@click.option("--minutes", type=float, help="Begin no further case after so many minutes.")
@click.option("--out", type=click.Path(), help="Keep results there instead of in docs/benchmarks.")
def main(
    kind: str | None, model: str, form: str, columns: int, mixed: bool, rows: int | None, rounds: int,
    everything: bool, quickly: bool, peers: bool, minutes: float | None, out: str | None,
) -> None:  # fmt: skip
    """Measure, keep the figures and generate the page; a case that fails is reported, and the others go on."""
    if out is not None:
        tables.RESULTS = type(tables.RESULTS)(out)
    if kind is not None:
        size = rows or {"cold": 10_000, "scale": 40_000_000}.get(kind, 4_000_000)
        cases = [Case(kind, model, form, columns, mixed, size, rounds)]
    elif quickly:
        cases = list(quick())
    else:
        cases = list((matrix if everything else usual)(rows or 4_000_000, rounds))
    failed = run(cases, peers, minutes)
    tables.write_page()
    if failed:
        raise click.ClickException(f"what failed: {', '.join(failed)}")


def run(cases: list[Case], peers: bool, minutes: float | None) -> list[str]:
    """Measure case by case; the names of those that failed."""
    began, failed = time.monotonic(), []
    for number, case in enumerate(cases, 1):
        spent = (time.monotonic() - began) / 60
        if minutes is not None and spent > minutes:
            sys.stderr.write(f"{spent:.0f} minutes are over: {len(cases) - number + 1} cases are left out\n")
            break
        sys.stderr.write(f"{number}/{len(cases)} {case.stem} ({spent:.0f} minutes so far)\n")
        try:
            failed += [f"{case.stem} ({name})" for name in measure(case, peers)]
        except Exception:  # the next one may well work
            traceback.print_exc()
            failed.append(case.stem)
    return failed


def measure(case: Case, peers: bool) -> list[str]:
    """One case: make what it needs, run its rounds, keep the figures; the names of contenders that failed."""
    inputs.prepare(case)
    absent: dict[str, str] = {}
    with _contenders(case, peers) as contenders:
        series = interleaved(contenders, case.rounds, absent)
    keep(case, series, absent)
    return [name for name, reason in absent.items() if reason.startswith(FAILED)]


@contextmanager
def _contenders(case: Case, peers: bool) -> Iterator[dict[str, Contender]]:
    from scripts.bench import cold, contenders, scale, stages

    if case.kind == "cold":
        yield cold.contenders(case)
    elif case.kind == "scale":
        for size in scale.sizes(case):
            inputs.prepare(size)
        yield scale.contenders(case)
    else:
        spark = _session(case)
        if case.kind == "warm":
            yield contenders.warm(case, spark, peers=peers)
        else:
            make = {
                "drift": contenders.drift_overhead,
                "stages": stages.contenders,
                "floor": contenders.beside_the_floor,
            }
            yield make[case.kind](case, spark)


def _session(case: Case) -> Any:
    """One session for all warm cases of a process."""
    from pipelines.session import session

    conf = {"spark.master": f"local[{case.cores}]", "spark.driver.memory": "3g"}
    return session("scoreline-bench", conf)


def keep(case: Case, series: dict[str, Series], absent: dict[str, str]) -> None:
    """Write one result."""
    tables.RESULTS.mkdir(parents=True, exist_ok=True)
    about = {n: getattr(case, n) for n in ("kind", "model", "form", "columns", "types", "rows", "rounds")}
    body = about | {
        "machine": inputs.machine(case.cores),
        "date": datetime.now(UTC).date().isoformat(),
        "absent": absent,
        "series": series,
    }
    path = tables.RESULTS / f"{case.stem}.json"
    path.write_text(json.dumps(body, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
