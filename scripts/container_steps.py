"""Do what the Dockerfile says in an empty folder: for machines without a container engine.

    python -m scripts.container_steps FOLDER

COPY and RUN of both stages are carried out below FOLDER, in the place of ``/opt/scoreline``. Not shown by it: the
base image, the user (``useradd`` is left out), and whatever only an engine does.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = "/opt/scoreline"


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Instruction and argument, with continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    for line in joined.splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


def carry_out(text: str, home: Path) -> tuple[list[str], dict[str, str]]:
    """Do the steps; returns the entry point and the environment of the image.

    Raises:
        subprocess.CalledProcessError: a step failed.
    """
    environment: dict[str, str] = {"PATH": os.environ["PATH"]}
    entry: list[str] = []
    for word, rest in instructions(text):
        argument = rest.replace(HOME, str(home))
        if word == "COPY":
            _copy(argument, home)
        elif word == "RUN" and not rest.startswith("useradd"):
            subprocess.run(
                ["bash", "-euc", argument], cwd=home, env={**os.environ, **environment}, check=True
            )
        elif word == "ENV":
            for name, value in (part.split("=", 1) for part in shlex.split(argument)):
                environment[name] = value.replace("$PATH", environment["PATH"])
        elif word == "ENTRYPOINT":
            entry = [str(part) for part in re.findall(r'"([^"]*)"', rest)]
    (home / "work").mkdir(exist_ok=True)
    return entry, environment


def _copy(argument: str, home: Path) -> None:
    if argument.startswith("--from="):
        return  # both stages have the same place here
    *sources, target = argument.split()
    for source in sources:
        here, there = ROOT / source, home / target / ("" if target != "./" else source)
        if here.is_dir():
            shutil.copytree(
                here, home / target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
            )
        else:
            shutil.copy(here, there)


def main() -> None:
    """Carry the steps out below the folder that is given."""
    home = Path(sys.argv[1]).resolve()
    home.mkdir(parents=True)
    entry, environment = carry_out((ROOT / "Dockerfile").read_text("utf-8"), home)
    print(f"container steps: done below {home}; entry {entry}, {len(environment)} variables")


if __name__ == "__main__":
    main()
