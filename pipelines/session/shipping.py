"""How this package and a model's bytes get to the workers."""

from __future__ import annotations

import atexit
import functools
import hashlib
import io
import shutil
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from pipelines.session.platform import is_remote

_MANY = 64 << 20  # bytes
_SHIPPING = threading.Lock()
_uploaded: set[tuple[str, str]] = set()  # artifacts, by the Connect session that has them


def ship_code(spark: SparkSession) -> None:
    """Give the workers this very package, wherever the driver has it from.

    The archive is named by its content: calling this again with the same code changes nothing.
    """
    archive = _archive()
    name = f"scoreline-{code_digest()}.zip"
    if is_remote(spark):
        _upload(spark, name, archive, pyfile=True)
        return
    context = spark.sparkContext
    with _SHIPPING:
        if any(name in path for path in context._python_includes or ()):
            return
        folder = tempfile.mkdtemp(prefix="scoreline-code-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)  # until then executors may fetch it
        path = Path(folder) / name
        path.write_bytes(archive)
        context.addPyFile(str(path))


def ship_bytes(spark: SparkSession, content: bytes) -> Callable[[], bytes]:
    """Bytes for workers, which call for them at most once. Each executor gets them once: as an artifact of the Connect
    session, else as a broadcast, or as a file where they are many: a broadcast has to fit into the JVM's heap."""
    if not is_remote(spark):
        if len(content) >= _MANY:
            return _ship_file(spark, content)
        broadcast = spark.sparkContext.broadcast(content)

        def take() -> bytes:
            value = broadcast.value
            vars(broadcast).pop("_value", None)  # a worker would keep the bytes beside the model for life
            return value

        return take
    name = _name_of(content)
    _upload(spark, name, content)
    return functools.partial(_read, name)


def _ship_file(spark: SparkSession, content: bytes) -> Callable[[], bytes]:
    name, context = _name_of(content), spark.sparkContext
    with _SHIPPING:
        if not any(str(path).endswith(f"/{name}") for path in context.listFiles):
            folder = Path(tempfile.mkdtemp(prefix="scoreline-model-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)  # until then executors may fetch it
            (folder / name).write_bytes(content)
            context.addFile(str(folder / name))
    return functools.partial(_read, name)


def _name_of(content: bytes) -> str:
    return f"scoreline-{hashlib.sha256(content).hexdigest()}.bin"


def _read(name: str) -> bytes:
    """In a worker: the file that was sent under this name."""
    from pyspark import SparkFiles

    return Path(SparkFiles.get(name)).read_bytes()


def _upload(spark: Any, name: str, content: bytes, *, pyfile: bool = False) -> None:
    """Add an artifact to a Connect session, once; the server keeps it as long as the session."""
    if (spark.session_id, name) in _uploaded:
        return
    with tempfile.TemporaryDirectory(prefix="scoreline-") as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        spark.addArtifacts(str(path), pyfile=pyfile, file=not pyfile)
        with suppress(ValueError):  # the client imports from what it sends, too
            sys.path.remove(str(path))
    _uploaded.add((spark.session_id, name))


@cache
def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in sorted(_modules(resources.files("pipelines"), "pipelines")):
            archive.writestr(zipfile.ZipInfo(name), text)
    return buffer.getvalue()


def _modules(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and text of each module of a package, which may itself have come in an archive."""
    for entry in folder.iterdir():
        inside = f"{name}/{entry.name}"
        if entry.is_dir():
            yield from _modules(entry, inside)
        elif entry.name.endswith(".py"):
            yield inside, entry.read_bytes()


@cache
def code_digest() -> str:
    """Names this very code: two processes with the same one score alike."""
    return hashlib.sha256(_archive()).hexdigest()[:12]
