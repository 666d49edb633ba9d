"""A worker that is used again: what Spark does between two of its tasks."""

from __future__ import annotations

import gc
import importlib
import sys
import weakref
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from pipelines.scoring.reuse import reusable, spare_from_collection


@pytest.mark.parametrize(
    ("archive", "kept"),
    [
        ("pyspark.zip", False),
        ("py4j-0.10.9.9-src.zip", False),
        ("spark-core_2.13-4.1.4.jar", False),
        ("mine.zip", True),  # Spark replaces a file that is added again
        ("my-pyspark.zip", True),
    ],
)
def test_only_spark_s_own_archives_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: str, kept: bool
) -> None:
    path = str(tmp_path / archive)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("once_here/__init__.py", "")
        file.writestr("once_here/first.py", "value = 1")
        file.writestr("once_here/second.py", "value = 2")
    monkeypatch.syspath_prepend(path)
    with suppress(ZeroDivisionError), reusable():
        assert importlib.import_module("once_here.first").value == 1
        raise ZeroDivisionError  # a task that fails is followed by others too
    known = {p for p in sys.path_importer_cache if p.startswith(path)}
    assert known == ({path, f"{path}/once_here"} if kept else set())
    assert importlib.import_module("once_here.second").value == 2
    for name in [n for n in sys.modules if n.startswith("once_here")]:
        del sys.modules[name]


def test_what_a_worker_keeps_is_spared_until_a_model_is_let_go() -> None:
    class Model:
        def __init__(self) -> None:
            self.me = self

    before, model = Model(), Model()
    left, gone = weakref.ref(before), weakref.ref(model)
    del before
    try:
        spare_from_collection(let_go=False)
        assert gc.get_freeze_count() > 0
        assert left() is None  # what loading has left does not stay
        del model
        gc.collect()
        assert gone() is not None
        spare_from_collection(let_go=True)
        assert gone() is None
    finally:
        gc.unfreeze()
