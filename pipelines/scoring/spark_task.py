"""What a worker knows of the Spark task that it runs."""

from __future__ import annotations

import os


def worker_name() -> str:
    """Host and process."""
    return f"{os.uname().nodename}:{os.getpid()}"


def partition() -> int:
    """The Spark partition this code runs for, -1 outside of a task."""
    from pyspark import TaskContext

    context = TaskContext.get()
    return -1 if context is None else context.partitionId()


def attempts() -> int:
    """How often this task was tried before."""
    from pyspark import TaskContext

    context = TaskContext.get()
    return 0 if context is None else context.attemptNumber()
