"""Only what is new: input files that no published run of the pipeline has scored yet.

The commit records are the truth: they name the files of every published date. A file counts as another one when its
size or its modification time has changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines import storage
from pipelines.records import InputFile
from pipelines.storage import AnyPath


@dataclass(frozen=True)
class New:
    """``files`` are to be scored; ``known`` were scored before, ``changed`` under the same path with other content."""

    files: tuple[InputFile, ...]
    known: int
    changed: tuple[str, ...]


def unscored(root: AnyPath, date: str, files: Sequence[InputFile]) -> New:
    """What is new to the pipeline at ``root``, apart from what ``date`` itself has published: that is scored anew
    where the date is published again."""
    seen = scored(root, date)
    paths = {f.path for f in seen}
    fresh = tuple(f for f in files if f not in seen)
    return New(fresh, len(files) - len(fresh), tuple(f.path for f in fresh if f.path in paths))


def scored(root: AnyPath, but: str) -> set[InputFile]:
    """The files of all published dates except ``but``."""
    found: set[InputFile] = set()
    for folder in storage.found(root / "_control" / "commits", "run_date=*"):
        commits = storage.found(folder, "[0-9]*.json")
        if commits and folder.name != f"run_date={but}":
            record = json.loads(commits[-1].read_text("utf-8"))
            found |= {InputFile(*f) for f in record.get("files", ())}
    return found


def listed(files: Sequence[InputFile]) -> list[list[str | int]]:
    """Files as a commit record holds them."""
    return [[f.path, f.size, f.mtime_ns] for f in files]
