"""The files that an input means: a folder, a file name or a glob, mounted or in a store."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path, PurePosixPath

from pipelines import storage
from pipelines.errors import InputUnavailable
from pipelines.records import InputFile


def files_digest(files: Sequence[InputFile]) -> str:
    """sha256 over the sorted (path, size, modification time in ns) of the input files."""
    lines = sorted(f"{f.path}\t{f.size}\t{f.mtime_ns}" for f in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def list_files(path: str) -> tuple[InputFile, ...]:
    """The files a folder, a file name or a glob means; hidden ones (``_x``, ``.x``) are not data.

    Raises:
        InputUnavailable: nothing is there, or it cannot be listed.
    """
    try:
        found = (
            _remote_files(storage.HadoopPath.of(path)) if storage.is_remote(path) else _mounted_files(path)
        )
    except OSError as error:
        raise InputUnavailable(
            f"source.path: cannot read {str(error.filename or path)!r} ({error.strerror}).",
            hint="Check the path and its permissions; a scheme that Spark does not know needs its connector "
            "(spark-submit --packages), or the store mounted.",
        ) from error
    if not found:
        raise InputUnavailable(
            f"source.path: nothing to read at {path!r}.",
            hint="Check the path and that the data of this date has arrived, then run again.",
        )
    for file in found:
        name = PurePosixPath(file.path).name
        if ":" in name or not _is_data(name):
            raise InputUnavailable(
                f"{file.path}: Spark cannot read a file whose name holds a colon or begins with '_' or '.'.",
                hint="Rename the file.",
            )
    return tuple(found)


def _mounted_files(path: str) -> list[InputFile]:
    root = _local(path)
    matches = sorted(m for m in glob(root) if _is_data(Path(m).name)) if _is_glob(root) else [root]
    return [f for match in matches for f in _walk(Path(match).absolute())]


def _remote_files(root: storage.HadoopPath) -> list[InputFile]:
    if has_magic(str(root)) and not root.exists():
        top = storage.HadoopPath.of(f"{root.base}/")
        starts = [p for p in top.glob(str(root.inner).lstrip("/")) if _is_data(p.name)]
    else:
        starts = [root]
    return [f for start in starts if (found := start.status()) for f in _walk_remote(found)]


def _walk_remote(found: storage.Status) -> list[InputFile]:
    if not found.folder:
        return [InputFile(str(found.path), found.size, found.modified * 1_000_000)]
    return [f for e in found.path.entries() if _is_data(e.path.name) for f in _walk_remote(e)]


def _local(path: str) -> str:
    return re.sub(r"^file:(//)?(?=/)", "", path)


def _is_glob(root: str) -> bool:
    """A path that exists as it is written means itself, whatever brackets it holds."""
    return has_magic(root) and not os.path.lexists(root)


def _is_data(name: str) -> bool:
    """As Spark decides: ``_SUCCESS`` is hidden, but ``_region=eu`` is a partition."""
    hidden = (name.startswith("_") and "=" not in name) or name.startswith(".") or name.endswith("._COPYING_")
    return not hidden


def _walk(path: Path) -> list[InputFile]:
    if path.is_dir():
        children = sorted(c for c in path.iterdir() if _is_data(c.name))
        return [f for child in children for f in _walk(child)]
    try:
        stat = path.stat()
    except FileNotFoundError:
        return []
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return [InputFile(str(path), stat.st_size, stat.st_mtime_ns)]
