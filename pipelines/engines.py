"""Which engine evaluates a run: workers that read for themselves, or Spark, whole or file by file."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import SparkSession

from pipelines import one_pass, part_pass, scan_input, scan_pass, session
from pipelines.attempt import Attempt
from pipelines.binding import Binding
from pipelines.errors import ConfigInvalid
from pipelines.gates import Suites
from pipelines.passes import Pass
from pipelines.profiles import ColumnSpec
from pipelines.records import ResolvedModel
from pipelines.source import SourceTable


def assemble(
    attempt: Attempt,
    spark: SparkSession,
    model: ResolvedModel,
    table: SourceTable,
    bound: Binding,
    suites: Suites,
    specs: Sequence[ColumnSpec],
) -> Pass:
    """Declare the pass of the engine that was asked for, or of the fastest that can do it; nothing is read.

    Raises:
        ConfigInvalid: the engine that was asked for cannot do it.
    """
    config = attempt.config
    if config.scoring.engine != "udf":
        try:
            return scan_pass.assemble(spark, config, model, table, bound, suites, specs)
        except scan_input.Unsuitable as reason:
            if config.scoring.engine == "scan":
                raise ConfigInvalid(
                    f"scoring.engine: found scan, but {reason}.", hint="Use auto, or udf."
                ) from None
            attempt.detail["not_scanned"] = str(reason)
    whole = one_pass.assemble(spark, config, model, table, bound, suites, specs)
    parts = part_pass.cut(table.files, session.parallelism(spark))
    if len(parts) < 2:
        return whole
    of_part = (part_pass.without_aggregates(suites[0]), part_pass.without_aggregates(suites[1]))
    return part_pass.PartPass(
        spark,
        table,
        parts,
        lambda part: one_pass.assemble(spark, config, model, part, bound, of_part, specs),
        whole,
        *suites,
        limit=config.quality.max_quarantined,
    )
