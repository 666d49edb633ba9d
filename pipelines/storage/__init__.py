"""Paths on whatever store, and the few acts on them whose guarantees publishing is built on.

A path without a scheme, or with ``file://``, is one of this machine, mounted alike on every other. A path with another
scheme is reached through the Hadoop FileSystem of the driver's JVM, so that a session must be there.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, cast

from pipelines.storage.guarantees import STORES, Store, store_of
from pipelines.storage.hadoop import HadoopPath, Status

__all__ = [
    "STORES", "AnyPath", "HadoopPath", "Status", "Store", "adopt", "below", "each", "found", "identity", "is_remote",
    "literal", "opened", "place", "put_new", "remove", "rename", "replace", "store_of", "uri",
]  # fmt: skip

AnyPath = Path | HadoopPath
_PROBED, _NEAR = 8, 0.001  # files; seconds for one that is no wait
_FILE = re.compile(r"^file:(//)?(?=/)")


def is_remote(*paths: str) -> bool:
    """Whether one of the paths is on a store that only Spark reaches."""
    return any("://" in _FILE.sub("", p) for p in paths)


def place(text: str) -> AnyPath:
    """The path that a text of the configuration means."""
    return HadoopPath.of(text) if is_remote(text) else Path(_FILE.sub("", text)).absolute()


def uri(path: AnyPath) -> str:
    """The path as Spark takes it, whatever its default file system is."""
    return f"file://{path}" if isinstance(path, Path) else str(path)


def literal(path: str) -> str:
    """A file's path as Spark takes it: brackets, braces and stars would be patterns to it."""
    text = re.sub(r"([\\\[\]{}*?])", r"\\\1", path)
    return text if is_remote(path) else f"file://{text}"


def opened(path: str) -> IO[bytes]:
    """A file, for reading bytes."""
    return cast("IO[bytes]", place(path).open("rb"))


def each(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """What a function that reads a file gives for each of many, in their order.

    Eight at a time where each is a wait. Where files are near, threads only get into each other's way: eight of them
    took five times the processor time of one.
    """
    start = time.perf_counter()
    results = [function(item) for item in items[:_PROBED]]
    rest = items[_PROBED:]
    if time.perf_counter() - start < _NEAR * len(results):
        return [*results, *map(function, rest)]
    with ThreadPoolExecutor(8) as pool:
        return [*results, *pool.map(function, rest)]


def found(folder: AnyPath, pattern: str) -> list[AnyPath]:
    """What a glob pattern finds below a folder, in order; ``**/`` at its beginning stands for any depth."""
    if pattern.startswith("**/"):
        return cast("list[AnyPath]", sorted(folder.rglob(pattern.removeprefix("**/"))))
    return cast("list[AnyPath]", sorted(folder.glob(pattern)))


def below(path: AnyPath, root: AnyPath) -> str:
    """The path of something, as seen from ``root`` above it."""
    return str(path.relative_to(cast("Any", root)))


def identity(folder: AnyPath) -> tuple[int, int] | None:
    """Device and inode of a folder; None on a store that has none.

    Raises:
        FileNotFoundError: it is not there.
    """
    if isinstance(folder, HadoopPath):
        if not folder.exists():
            raise FileNotFoundError(2, "No such file or directory", str(folder))
        return None
    found = folder.stat()
    return found.st_dev, found.st_ino


def rename(source: AnyPath, target: AnyPath) -> None:
    """Give a file or a folder a name that is not in use, at one instant."""
    if isinstance(source, HadoopPath):
        source.rename(cast("HadoopPath", target))
    else:
        os.rename(source, cast("Path", target))


def adopt(file: AnyPath, target: AnyPath) -> None:
    """Take a finished file under another name as well; where a store has no links, under that name alone."""
    if isinstance(file, HadoopPath):
        file.rename(cast("HadoopPath", target))
    else:
        os.link(file, cast("Path", target))


def put_new(path: AnyPath, content: bytes) -> None:
    """Create a whole file or fail; no reader ever sees a part of it.

    Raises:
        FileExistsError: the file exists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _draft(path)
    try:
        if isinstance(temporary, HadoopPath):
            temporary.write_bytes(content)
            temporary.rename(cast("HadoopPath", path))
            return
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, cast("Path", path))
    finally:
        temporary.unlink(missing_ok=True)


def replace(path: AnyPath, content: bytes) -> None:
    """Write a file at one instant, replacing what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _draft(path)
    try:
        temporary.write_bytes(content)
        if isinstance(temporary, HadoopPath):
            temporary.rename(cast("HadoopPath", path), overwrite=True)
        else:
            os.replace(temporary, cast("Path", path))
    finally:
        temporary.unlink(missing_ok=True)


def remove(path: AnyPath) -> None:
    """Remove a folder and all that is in it, as far as that can be done."""
    if isinstance(path, HadoopPath):
        try:
            path.remove()
        except OSError:
            return
    else:
        shutil.rmtree(path, ignore_errors=True)


def _draft(path: AnyPath) -> Any:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")
