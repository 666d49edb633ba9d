"""Make a folder visible under a name, at one instant."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from pipelines import storage
from pipelines.storage import AnyPath

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def swap(staged: AnyPath, live: AnyPath) -> None:
    """``live`` becomes what ``staged`` is, at one instant where the file system can exchange two names."""
    if not live.exists():
        storage.rename(staged, live)
        return
    if isinstance(staged, Path) and isinstance(live, Path) and _exchange(staged, live):
        return
    aside = staged.with_name(staged.name + "~old")  # no exchange here: for an instant the date is not there
    storage.rename(live, aside)
    storage.rename(staged, live)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at one instant; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # not Linux, or a C library without it
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        raise OSError(code, os.strerror(code), str(other))
    return False
