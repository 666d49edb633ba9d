"""Environments of their own for tools that are compared with: they are no dependency of this project."""

from __future__ import annotations

import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path


def environment(home: Path, pins: Sequence[str]) -> Path:
    """The interpreter of an environment that holds ``pins``, made at ``home`` where it is not there yet.

    Raises:
        subprocess.CalledProcessError: it cannot be installed.
    """
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *pins], check=True, capture_output=True)
        (home / "ready").touch()
    return python
