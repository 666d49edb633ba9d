"""A large model once per executor: its arrays lie in a file that all of its Python workers map into their memory.

The first worker loads the model and writes it anew, with the arrays apart from the rest (pickle protocol 5, PEP 574);
the others wait for it, and map. Mappings are private: a model that writes into its arrays gets pages of its own, and
predicts what it always does.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib
import json
import mmap
import os
import pickle
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEAST = 64 << 20  # bytes of a model; below, writing it costs more than a copy for each worker
TREES = b"sklearn.tree._tree"  # a tree copies its nodes when it is loaded: a forest has nothing to share
_KEPT = 2  # files: the model of this run and, in a session that lives long, the one before it
_PAGE = 4096  # arrays begin where pages do
_LENGTH = 8  # bytes that give the length of the head


def shares(flavor: str, options: Any, payload: bytes) -> bool:
    """Whether workers can share a model: large, of Python objects, in arrays that it keeps as they are."""
    plain = flavor == "sklearn" and not options.get("code")
    return plain and len(payload) >= LEAST and TREES not in payload


@dataclass(frozen=True)
class Shared:
    """A model, and how many bytes of it are in memory that workers share."""

    model: Any
    bytes: int


def shared(name: str, make: Callable[[], Any], by_value: bool = False) -> Shared:
    """What ``make`` gives, of which this worker has no copy of its own, if another one has made it before.

    Where there is no folder for it, or the object cannot be written, it is simply made.

    Args:
        name: of the object, by its content.
        by_value: classes of a script are written with it, as cloudpickle does.
    """
    folder = _folder()
    if folder is None:
        return Shared(make(), 0)
    path = folder / hashlib.sha256(name.encode()).hexdigest()
    with _alone(path.with_suffix(".lock")):
        if not path.is_file():
            model = make()
            try:
                _write(model, path, by_value)
            except Exception:  # no space, or something that cannot be pickled twice: it works as it is
                return Shared(model, 0)
            del model
            _remove_older(folder)
    return _mapped(path)


def _folder() -> Path | None:
    """For this user alone, where Spark removes it when the executor ends; only workers have one."""
    from pyspark import TaskContext

    place = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0]
    if not place or TaskContext.get() is None:
        return None
    folder = Path(place) / "scoreline-models"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return None
    ours = state.st_uid == os.getuid() and not state.st_mode & 0o077
    return folder if ours and folder.is_dir() and not folder.is_symlink() else None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One worker at a time; the lock of one that dies is the next one's."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(model: Any, path: Path, by_value: bool) -> None:
    """The object without its arrays, then each array at the beginning of a page; visible when complete."""
    pickler = importlib.import_module("cloudpickle" if by_value else "pickle")
    found: list[pickle.PickleBuffer] = []
    body = pickler.dumps(model, protocol=5, buffer_callback=found.append)
    arrays = [buffer.raw() for buffer in found]
    head = json.dumps([len(body), *(a.nbytes for a in arrays)]).encode()
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(len(head).to_bytes(_LENGTH, "little") + head)
            for part, start in zip([body, *arrays], _starts(len(head), [body, *arrays]), strict=True):
                file.seek(start)
                file.write(part)
            file.truncate(max(file.tell(), _PAGE))
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)


def _starts(head: int, parts: Sequence[Any]) -> list[int]:
    """Where each part begins; ``parts`` are lengths or what has one."""
    starts, place = [], _LENGTH + head
    for part in parts:
        place = -(-place // _PAGE) * _PAGE
        starts.append(place)
        place += part if isinstance(part, int) else memoryview(part).nbytes
    return starts


def _mapped(path: Path) -> Shared:
    """The model in a file that :func:`_write` has made; arrays that it copies do not count as shared."""
    with path.open("rb") as file:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    head = int.from_bytes(whole[:_LENGTH], "little")
    sizes = json.loads(whole[_LENGTH : _LENGTH + head])
    places = zip(_starts(head, sizes), sizes, strict=True)
    body, *arrays = ((ctypes.c_ubyte * size).from_buffer(whole, start) for start, size in places)
    model = pickle.loads(body, buffers=arrays)  # written by a worker of this executor
    parts = [(weakref.ref(a), size) for a, size in zip(arrays, sizes[1:], strict=True)]
    arrays.clear()
    return Shared(model, sum(size for part, size in parts if part() is not None))


def _remove_older(folder: Path) -> None:
    """Whoever has mapped a file that is removed keeps what is in it."""
    with suppress(OSError):
        files = [f for f in folder.iterdir() if not f.suffix and not f.name.startswith(".")]
        for file in sorted(files, key=lambda f: f.stat().st_mtime)[:-_KEPT]:
            file.unlink(missing_ok=True)
