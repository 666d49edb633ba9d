"""Paths on a store that only Spark knows how to reach, through Hadoop's FileSystem in the driver's JVM.

:class:`HadoopPath` has the part of :class:`pathlib.Path` that publishing needs, and raises the same ``OSError`` family,
so that code above does not ask where it is. Each call is a round trip to the JVM, a listing one for each entry.
"""

from __future__ import annotations

import errno
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pipelines.errors import ConfigInvalid

_PIECE = 1 << 20  # bytes that come over in one round trip
_BUFFER = 128 << 10  # a Parquet footer and the head of a CSV file fit
_MAGIC = re.compile(r"([\\\[\]{}*?])")
_ERRORS = {
    "FileNotFoundException": (FileNotFoundError, errno.ENOENT, "No such file or directory"),
    "FileAlreadyExistsException": (FileExistsError, errno.EEXIST, "File exists"),
    "AccessControlException": (PermissionError, errno.EACCES, "Permission denied"),
    "AccessDeniedException": (PermissionError, errno.EACCES, "Permission denied"),
    "ParentNotDirectoryException": (NotADirectoryError, errno.ENOTDIR, "Not a directory"),
}


@dataclass(frozen=True, order=True)
class HadoopPath:
    """``base`` is ``scheme://authority``; ``inner`` the absolute path below it."""

    base: str
    inner: PurePosixPath

    @classmethod
    def of(cls, text: str) -> HadoopPath:
        """From ``scheme://authority/path``."""
        scheme, _, rest = text.partition("://")
        authority, _, path = rest.partition("/")
        return cls(f"{scheme}://{authority}", PurePosixPath("/" + path))

    def __str__(self) -> str:
        return f"{self.base}{self.inner}"

    def __truediv__(self, other: str | PurePosixPath) -> HadoopPath:
        return HadoopPath(self.base, self.inner / other)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def parent(self) -> HadoopPath:
        return HadoopPath(self.base, self.inner.parent)

    def with_name(self, name: str) -> HadoopPath:
        return HadoopPath(self.base, self.inner.with_name(name))

    def relative_to(self, other: HadoopPath) -> PurePosixPath:
        return self.inner.relative_to(other.inner)

    def exists(self) -> bool:
        return self.status() is not None

    def is_dir(self) -> bool:
        found = self.status()
        return found is not None and found.folder

    def is_file(self) -> bool:
        found = self.status()
        return found is not None and not found.folder

    def status(self) -> Status | None:
        """What the store says of it; None where nothing is there."""
        try:
            with self._told():
                return Status.of(self._files().getFileStatus(self._java()))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def entries(self) -> list[Status]:
        """What is in this folder, by name."""
        with self._told():
            return sorted(Status.of(s) for s in self._files().listStatus(self._java()))

    def iterdir(self) -> Iterator[HadoopPath]:
        return iter([e.path for e in self.entries()])

    def glob(self, pattern: str) -> Iterator[HadoopPath]:
        """By Hadoop's rules: ``*`` and ``?`` stay within a name, ``[...]`` and ``{a,b}`` choose."""
        plain = _MAGIC.sub(r"\\\1", str(self)).rstrip("/")
        with self._told():
            found = self._files().globStatus(_jvm().org.apache.hadoop.fs.Path(f"{plain}/{pattern}")) or ()
            return iter(sorted(HadoopPath.of(s.getPath().toString()) for s in found))

    def rglob(self, pattern: str) -> Iterator[HadoopPath]:
        """Files at any depth; ``pattern`` is that of their names."""
        if not self.is_dir():
            return iter(())
        with self._told():
            found, files = [], self._files().listFiles(self._java(), True)
            while files.hasNext():
                found.append(HadoopPath.of(files.next().getPath().toString()))
        return iter(sorted(p for p in found if PurePosixPath(p.name).match(pattern)))

    def mkdir(self, *, parents: bool = True, exist_ok: bool = False) -> None:
        """Make the folder, those above included.

        Raises:
            FileExistsError: it is there, and may not be.
        """
        if not exist_ok and self.exists():
            raise FileExistsError(errno.EEXIST, "File exists", str(self))
        with self._told():
            if not self._files().mkdirs(self._java()):
                raise OSError(errno.EIO, "the store refuses to make a folder", str(self))

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """For reading bytes."""
        if mode != "rb":
            raise ValueError(f"mode {mode!r}: only rb is supported")
        with self._told():
            files, path = self._files(), self._java()
            size = files.getFileStatus(path).getLen()
            return io.BufferedReader(_Reading(files.open(path), size, self), _BUFFER)

    def read_bytes(self) -> bytes:
        with self.open() as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> None:
        """Replace the file; where that is not one instant, a reader may see the beginning."""
        with self._told():
            stream = self._files().create(self._java(), True)
            try:
                for start in range(0, len(content), _PIECE):
                    stream.write(content[start : start + _PIECE])
            finally:
                stream.close()

    def rename(self, target: HadoopPath, *, overwrite: bool = False) -> None:
        """Give a file or a folder another name.

        Args:
            overwrite: an existing file is replaced.

        Raises:
            FileExistsError: the target exists.
        """
        jvm = _jvm()
        kind = jvm.org.apache.hadoop.fs.Options.Rename
        how = _gateway().new_array(kind, 1)
        how[0] = kind.OVERWRITE if overwrite else kind.NONE
        with self._told():
            context = jvm.org.apache.hadoop.fs.FileContext.getFileContext(
                jvm.java.net.URI(self.base), _conf()
            )
            context.rename(self._java(), target._java(), how)

    def unlink(self, *, missing_ok: bool = False) -> None:
        if not self.remove() and not missing_ok:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(self))

    def remove(self) -> bool:
        """Remove a file, or a folder with all that is in it; whether anything was there."""
        with self._told():
            return bool(self._files().delete(self._java(), True))

    def _files(self) -> Any:
        jvm = _jvm()
        return jvm.org.apache.hadoop.fs.FileSystem.get(jvm.java.net.URI(self.base), _conf())

    def _java(self) -> Any:
        return _jvm().org.apache.hadoop.fs.Path(str(self))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Java's exceptions as Python's."""
        from py4j.protocol import Py4JJavaError

        try:
            yield
        except Py4JJavaError as error:
            java = error.java_exception
            name, said = java.getClass().getSimpleName(), str(java.getMessage() or "").splitlines()
            kind, number, text = _ERRORS.get(name, (OSError, errno.EIO, f"{name}: {said[0] if said else ''}"))
            raise kind(number, text, str(self)) from error


@dataclass(frozen=True, order=True)
class Status:
    """``size`` in bytes; ``modified`` in milliseconds of the store's clock."""

    path: HadoopPath
    folder: bool
    size: int
    modified: int

    @classmethod
    def of(cls, found: Any) -> Status:
        path = HadoopPath.of(found.getPath().toString())
        return cls(path, found.isDirectory(), found.getLen(), found.getModificationTime())


class _Reading(io.RawIOBase):
    """An open file of the store; a lock keeps position and read together."""

    def __init__(self, stream: Any, size: int, path: HadoopPath) -> None:
        self._stream, self._size, self._path = stream, size, path
        self._at, self._lock = 0, threading.Lock()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), _PIECE, max(0, self._size - self._at))
        if not wanted:
            return 0
        with self._lock, self._path._told():
            self._stream.seek(self._at)
            data = self._stream.readNBytes(wanted)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            with self._path._told():
                self._stream.close()
        super().close()


def _context() -> Any:
    from pyspark import SparkContext

    context = SparkContext._active_spark_context
    if context is None:
        raise ConfigInvalid(
            "a path with a scheme such as hdfs:// was given, but there is no classic Spark session to reach it.",
            hint="Spark Connect gives no access to stores: mount it, and give the mounted path.",
        )
    return context


def _gateway() -> Any:
    return _context()._gateway


def _jvm() -> Any:
    return _context()._jvm


def _conf() -> Any:
    return _context()._jsc.hadoopConfiguration()
