"""A worker that Spark uses again: what it does between two tasks is kept small, 0.2 s otherwise.

After each task PySpark's daemon looks for garbage among all objects of the worker, most of which are its libraries'.
Before the next one its worker makes importlib read all archives again that it knows: once for each package that came
from them, Spark's own with thousands of entries.
"""

from __future__ import annotations

import gc
import re
import sys
import zipimport
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

_OF_SPARK = re.compile(r"pyspark\.zip|py4j-.*\.zip|spark-core_.*\.jar")


@contextmanager
def reusable() -> Iterator[None]:
    """Around what a task does: Spark's own archives, which stay as they are, are not read again before the next."""
    try:
        yield
    finally:
        for path, finder in list(sys.path_importer_cache.items()):
            archive = finder.archive if isinstance(finder, zipimport.zipimporter) else ""
            if _OF_SPARK.fullmatch(PurePath(archive).name):
                sys.path_importer_cache.pop(path, None)  # made anew where it is needed, with what is known


def spare_from_collection(let_go: bool) -> None:
    """From now on look for garbage among none of the objects that there are: libraries, and a model that was loaded.

    Args:
        let_go: whether what was spared before is looked through once more, as another model was let go.
    """
    if let_go:
        gc.unfreeze()
    gc.collect()  # what loading has left would stay for good
    gc.freeze()
