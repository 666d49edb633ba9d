"""Apply a model in batches on executors: one model per worker, rows that fail isolated."""

from pipelines.scoring.outputs import output_columns
from pipelines.scoring.udf import Scorer, ship
from pipelines.scoring.worker import WorkerState, merge_states

__all__ = ["Scorer", "WorkerState", "merge_states", "output_columns", "ship"]
