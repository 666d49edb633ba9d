"""The driver's side of scoring: one iterator UDF over the model's columns.

The UDF is an Arrow one: PySpark's pandas path turns a nullable bigint into float64 and changes large values;
here Arrow arrays reach the worker as they are, and become the pandas types that the signature declares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pyarrow as pa
from pyspark.sql import Column
from pyspark.sql.functions import arrow_udf
from pyspark.sql.types import BinaryType, StringType, StructField, StructType, _parse_datatype_string

from pipelines.profiles import ColumnSpec
from pipelines.records import ModelColumn, ResolvedModel
from pipelines.scoring import sharing
from pipelines.scoring.account import Task
from pipelines.scoring.loaders import ModelSpec
from pipelines.scoring.worker import ERROR, STATE, run

Payload = Callable[[], bytes]


@dataclass(frozen=True)
class Scorer:
    """Declares the scoring column of one run.

    ``critical`` has the critical bits of each mask, ``slices`` the expressions by which the profile is cut.
    """

    model: ResolvedModel
    method: str
    outputs: tuple[ModelColumn, ...]
    critical: tuple[int, ...]
    specs: tuple[ColumnSpec, ...] = ()
    trusted_types: tuple[str, ...] = ()
    batch_timeout: float = 0.0
    slices: tuple[str, ...] = ()
    discreet: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    compile_tolerance: float | None = None

    def task(self) -> Task:
        """What workers are told."""
        return Task(
            self._spec(),
            self.model.inputs,
            self.outputs,
            self.critical,
            self.specs,
            self.batch_timeout,
            self.slices,
            self.discreet,
        )

    def column(
        self,
        payload: Payload,
        inputs: Sequence[Column],
        masks: Sequence[Column],
        spark_type: Any,
        slices: Sequence[Column] = (),
    ) -> Column:
        """A struct column: the outputs, ``__error`` and ``__state``. Evaluated once a row, as it is declared
        non-deterministic: Spark then neither duplicates it nor pushes a filter through it.

        Args:
            inputs: the model's inputs.
            masks: which rules a row breaks.
            spark_type: from a signature's type to Spark's.
            slices: the values of the slicing expressions, as text.
        """
        task = self.task()

        def score(batches: Iterator[tuple[pa.Array, ...]]) -> Iterator[pa.Array]:
            # of a single column Spark gives the array itself, whatever the annotation says
            return run(task, payload, (b if isinstance(b, tuple) else (b,) for b in batches))

        score.__annotations__ = {
            "batches": Iterator[tuple[pa.Array, ...]],
            "return": Iterator[pa.Array],
        }
        udf = cast(Any, arrow_udf)(score, self.result_type(spark_type)).asNondeterministic()
        return udf(*inputs, *masks, *slices)

    def result_type(self, spark_type: Callable[[str], str]) -> StructType:
        fields = [StructField(c.name, _parse_datatype_string(spark_type(c.type))) for c in self.outputs]
        return StructType([*fields, StructField(ERROR, StringType()), StructField(STATE, BinaryType())])

    def _spec(self) -> ModelSpec:
        return ModelSpec(
            digest=self.model.digest,
            payload_digest=hashlib.sha256(self.model.payload).hexdigest(),
            flavor=self.model.flavor,
            method=self.method,
            flavor_options=dict(self.model.flavor_options),
            trusted_types=self.trusted_types,
            environment=dict(self.environment),
            compile_tolerance=self.compile_tolerance,
            shared=sharing.shares(self.model.flavor, self.model.flavor_options, self.model.payload),
        )
