"""A big input that Spark reads, part by part: what is scored stays scored when the run dies.

Each part is a pass of its own over a group of files and is committed in staging; a rerun goes on with the parts
that are missing. Aggregates over the whole table do not add up from those of its parts, so that they are measured
by one more job over the columns they need.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from pipelines import passes, publish, screening, storage
from pipelines.expectations import SuitePlan
from pipelines.passes import Measured, Pass
from pipelines.publish import Staging
from pipelines.records import InputFile
from pipelines.scoring import WorkerState, merge_states
from pipelines.screening import Screen
from pipelines.source import SourceTable
from pipelines.storage import AnyPath
from pipelines.unit_watch import hopeless

# Planning and starting a part takes about a second: at the 10 MB/s that a core reads of CSV, 3 % of its time.
PART_BYTES = 512 << 20  # per core
TABLES = ("predictions", "quarantine")
_ACCOUNT = "account.json"


def cut(files: Sequence[InputFile], cores: int) -> list[tuple[InputFile, ...]]:
    """Files in their order, in groups of at least ``PART_BYTES`` per core; a file is never cut."""
    groups: list[tuple[InputFile, ...]] = []
    waiting: list[InputFile] = []
    size = 0
    for file in files:
        waiting.append(file)
        size += file.size
        if size >= PART_BYTES * cores:
            groups.append(tuple(waiting))
            waiting, size = [], 0
    return [*groups, tuple(waiting)] if waiting else groups


@dataclass
class PartPass:
    """``make`` declares the pass over a table of some of the files, with suites that have no aggregates."""

    spark: SparkSession
    table: SourceTable
    parts: Sequence[tuple[InputFile, ...]]
    make: Callable[[SourceTable], Pass]
    whole: Pass
    input_plan: SuitePlan | None
    output_plan: SuitePlan | None
    limit: float = 1.0
    name: str = "udf"
    reused: int = 0

    @property
    def screen(self) -> Screen:
        return self.whole.screen

    @property
    def schema(self) -> StructType:
        return self.whole.schema

    def run(self, staging: Staging) -> None:
        """A pass for each part that no earlier attempt has committed.

        Raises:
            DataRefused: so many rows were refused that the rest cannot change the verdict.
        """
        rows, refused, read = self.table.rows, 0, 0
        folders = self._folders(staging)
        for number, (files, folder) in enumerate(zip(self.parts, folders, strict=True), 1):
            if (account := _account(folder)) is None:
                account = self._run_part(staging, files, folder)
            else:
                self.reused += account["read"]
            read, refused = read + account["read"], refused + account["quarantined"]
            # how many rows a CSV input has nobody knows before
            if rows is not None and number < len(self.parts) and refused > self.limit * rows:
                self._refuse(staging)
                raise hopeless(refused, read, rows, self.limit)

    def _refuse(self, staging: Staging) -> None:
        schema = to_arrow_schema(screening.quarantine_schema(self.screen))
        publish.collect_table(staging, "quarantine", self._files(staging, "quarantine"), schema)

    def measured(self, staging: Staging) -> Measured:
        accounts = [json.loads((f / _ACCOUNT).read_text()) for f in self._folders(staging)]
        counts = [Counter[str](), Counter[str]()]
        for account in accounts:
            for total, key in zip(counts, ("input_counts", "output_counts"), strict=True):
                total.update(account[key])
        predictions = [storage.literal(str(file)) for file in self._files(staging, "predictions")]
        scored = self.spark.read.schema(self.schema).parquet(*predictions)
        return Measured(
            read=sum(a["read"] for a in accounts),
            state=merge_states(WorkerState.from_bytes(a["state"].encode()) for a in accounts),
            input_counts=dict(counts[0]),
            output_counts=dict(counts[1]),
            input_aggregates=_aggregated(passes.readable(self.table), self.input_plan),
            output_aggregates=_aggregated(scored, self.output_plan),
        )

    def collect(self, staging: Staging) -> dict[str, int]:
        schemas = dict(zip(TABLES, (self.schema, screening.quarantine_schema(self.screen)), strict=True))
        return {
            t: publish.collect_table(staging, t, self._files(staging, t), to_arrow_schema(schemas[t]))
            for t in TABLES
        }

    def _folders(self, staging: Staging) -> list[AnyPath]:
        return [staging.units / part_id(files) for files in self.parts]

    def _files(self, staging: Staging, table: str) -> list[AnyPath]:
        return [
            file
            for f in self._folders(staging)
            for file in storage.found(f / "tables" / table, "**/*.parquet")
        ]

    def _run_part(self, staging: Staging, files: tuple[InputFile, ...], folder: AnyPath) -> dict[str, Any]:
        draft = staging.units / f".{folder.name}-{uuid.uuid4().hex[:8]}"
        with publish.writing(draft):
            draft.mkdir(parents=True)
        own = replace(staging, folder=draft)
        the_pass = self.make(self.table.only(files))
        the_pass.run(own)
        found = the_pass.measured(own)
        rows = the_pass.collect(own)
        account = {
            "quarantined": rows["quarantine"],
            "read": found.read,
            "files": sum(1 for table in TABLES for _ in (draft / "tables" / table).rglob("*.parquet")),
            "state": found.state.to_bytes().decode(),
            "input_counts": dict(found.input_counts),
            "output_counts": dict(found.output_counts),
        }
        with publish.writing(draft):
            for left in (own.written, own.folder / "unpacked"):  # its files are linked in the tables
                storage.remove(left)
            (draft / _ACCOUNT).write_bytes(json.dumps(account).encode())
            storage.remove(folder)  # of a part whose files another attempt has taken and lost
            storage.rename(draft, folder)
        return account


def _account(folder: AnyPath) -> dict[str, Any] | None:
    """What a part counted; None where it is not done, or its files are no longer all there: where a store has no links,
    they are taken away when the tables are collected."""
    if not (folder / _ACCOUNT).is_file():
        return None
    account: dict[str, Any] = json.loads((folder / _ACCOUNT).read_text())
    files = [f for table in TABLES for f in (folder / "tables" / table).rglob("*.parquet")]
    return account if len(files) == account["files"] else None


def part_id(files: Sequence[InputFile]) -> str:
    """The same files have the same name in every attempt."""
    lines = [f"{f.path}\t{f.size}\t{f.mtime_ns}" for f in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:20]


def without_aggregates(plan: SuitePlan | None) -> SuitePlan | None:
    """The same plan for one part."""
    return replace(plan, aggregates={}) if plan else None


def _aggregated(frame: DataFrame, plan: SuitePlan | None) -> dict[str, Any]:
    if not plan or not plan.aggregates:
        return {}
    columns: list[Column] = [c.alias(k) for k, c in plan.aggregates.items()]
    row = frame.agg(*columns).collect()[0]
    return {key: row[key] for key in plan.aggregates}
