"""What is measured: which kinds of measurement, which models, on which inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

HOME = Path("build/bench")
MODELS = ("logistic", "forest", "boosting", "lightgbm", "xgboost")
FORMATS = ("parquet", "csv")
KINDS = ("warm", "floor", "cold", "stages", "drift", "scale")
DAY = "2026-01-01"


@dataclass(frozen=True)
class Case:
    """One measurement: ``kind`` says of what; ``mixed``: doubles, whole numbers and texts instead of doubles alone;
    ``rounds`` are those that count, after one that warms up."""

    kind: str = "warm"
    model: str = "logistic"
    form: str = "parquet"
    columns: int = 20
    mixed: bool = False
    rows: int = 4_000_000
    rounds: int = 5
    cores: int = 2

    @property
    def types(self) -> str:
        return "mixed" if self.mixed else "double"

    @property
    def stem(self) -> str:
        """Names its files in docs/benchmarks."""
        return f"{self.kind}-{self.model}-{self.form}-{self.rows}x{self.columns}-{self.types}"

    @property
    def data(self) -> Path:
        return HOME / "data" / f"{self.form}-{self.rows}x{self.columns}-{self.types}"

    @property
    def registered(self) -> str:
        """The model's name in the bench's registry."""
        return f"bench-{self.model}-{self.columns}-{self.types}"

    @property
    def uri(self) -> str:
        return f"models:/{self.registered}@champion"


def usual(rows: int, rounds: int) -> Iterator[Case]:
    """What ``make bench`` runs."""
    base = Case(rows=rows, rounds=rounds)
    yield replace(base, kind="cold", rows=10_000)
    yield base
    yield replace(base, model="boosting", rows=rows // 2)
    yield replace(base, form="csv", rows=rows // 4)
    yield replace(base, mixed=True, rows=rows // 4)
    yield from floors(rows, rounds)
    yield replace(base, kind="drift")
    yield replace(base, kind="stages")


def floors(rows: int, rounds: int) -> Iterator[Case]:
    """Each model over so many rows that a pass takes seconds."""
    for model, times in (
        ("logistic", 4.0),
        ("forest", 0.25),
        ("boosting", 0.5),
        ("lightgbm", 0.25),
        ("xgboost", 1.0),
    ):
        yield Case("floor", model, rows=int(rows * times), rounds=rounds)


def matrix(rows: int, rounds: int) -> Iterator[Case]:
    """What ``make bench-all`` runs: each model on each shape of input, both formats, then the other kinds."""
    for columns, mixed in ((20, False), (20, True), (200, False), (200, True)):
        for form in FORMATS:
            for model in MODELS:
                share = (4 if form == "csv" else 1) * (columns // 20) * (1 if model == "logistic" else 2)
                yield Case("warm", model, form, columns, mixed, max(rows // share, 1000), rounds)
    for form in FORMATS:
        for model in MODELS:
            yield Case("cold", model, form, rows=10_000, rounds=rounds)
    yield from floors(rows, rounds)
    yield from (Case("drift", rows=rows, rounds=rounds), Case("stages", rows=rows, rounds=rounds))
    yield Case("scale", rows=rows * 10, rounds=min(rounds, 3))


def quick() -> Iterator[Case]:
    """A look at whether all of it runs, in a few minutes; its figures mean nothing."""
    small = Case(rows=40_000, rounds=1)
    yield replace(small, kind="cold", rows=10_000)
    yield small
    yield replace(small, form="csv", mixed=True, model="xgboost")
    yield replace(small, kind="floor")
    yield replace(small, kind="drift")
    yield replace(small, kind="stages")
    yield replace(small, kind="scale", rows=400_000)
