"""Spark's own resolved expressions, evaluated on Arrow batches where no Spark row exists.

A predicate has one definition, a Spark column. What Spark's analyzer makes of it (types, implicit casts) is
turned into a short program over whole columns; an expression that has no exact counterpart here is named, and
whoever asked evaluates it in Spark.
"""

from pipelines.vectorized.aggregates import Aggregate, Totals
from pipelines.vectorized.catalyst import Compiled, compile_aggregates, compile_columns
from pipelines.vectorized.program import Program

__all__ = ["Aggregate", "Compiled", "Program", "Totals", "compile_aggregates", "compile_columns"]
