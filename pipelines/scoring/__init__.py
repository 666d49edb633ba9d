"""Apply a model in batches on executors: one model per worker, rows that fail isolated."""

from pipelines.scoring.account import Task
from pipelines.scoring.libraries import OWN, libraries
from pipelines.scoring.outputs import output_columns
from pipelines.scoring.rest import score_rest
from pipelines.scoring.scan import scan as scan_units
from pipelines.scoring.sharing import shares
from pipelines.scoring.states import WorkerState, merge_states
from pipelines.scoring.sums import in_worker as add_units
from pipelines.scoring.udf import Scorer

__all__ = [
    "OWN", "Scorer", "Task", "WorkerState", "add_units", "libraries", "merge_states", "output_columns", "scan_units",
    "score_rest", "shares",
]  # fmt: skip
