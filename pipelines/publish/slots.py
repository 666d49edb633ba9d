"""Where things are: the place of a date in a sink, and the folder of one attempt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import ConfigInvalid, SinkUnwritable

TABLES = ("quarantine", "profile_metrics", "drift_metrics", "predictions")  # predictions become visible last
UNITS = "units"


@dataclass(frozen=True)
class Slot:
    """The place of one logical date in a sink; ``root`` is ``<sink.path>/<name>``."""

    root: Path
    date: str

    def live(self, table: str) -> Path:
        return self.root / table / f"run_date={self.date}"

    @property
    def commits(self) -> Path:
        return self.root / "_control" / "commits" / f"run_date={self.date}"


@dataclass(frozen=True)
class Staging:
    """A folder of one attempt; ``written`` is where Spark writes, ``tables`` what will be promoted.

    ``identity`` is the folder's device and inode: Spark makes the folder again where the sink went away.
    """

    slot: Slot
    run_id: str
    folder: Path
    identity: tuple[int, int]
    work: str = "any"

    @property
    def written(self) -> Path:
        return self.folder / "written"

    @property
    def units(self) -> Path:
        """Where workers commit what they have scored; a later attempt at the same run goes on from there."""
        return self.folder / UNITS / self.work

    def table(self, name: str) -> Path:
        return self.folder / "tables" / name / f"run_id={self.run_id}"


def slot(sink: str, name: str, date: str) -> Slot:
    """Raises ConfigInvalid for a sink on a remote store, whose renames are not atomic."""
    path = sink.removeprefix("file://")
    if "://" in path:
        raise ConfigInvalid(
            f"sink.path: {sink!r} is on a remote store, expected a path that is mounted on every machine.",
            hint="Mount it (/Volumes, NFS, s3fs) and give the mounted path.",
        )
    return Slot(Path(path).absolute() / name, date)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals below a sink into one error with a next step."""
    try:
        yield
    except OSError as error:
        raise SinkUnwritable(
            f"sink.path: cannot write {str(error.filename or path)!r}: {error.strerror or error}.",
            hint="Check its permissions, that it is mounted, and that its disk has room.",
        ) from error


def leftovers(place: Slot) -> list[Path]:
    """Folders of attempts at this date that did not end."""
    return sorted((place.root / "_work").glob(f"run_date={place.date}~*"))


def identity(folder: Path) -> tuple[int, int]:
    """Device and inode of a folder."""
    found = folder.stat()
    return found.st_dev, found.st_ino


def require_same(staging: Staging) -> None:
    """Raises SinkUnwritable where the staging folder is another one than that in which the attempt began."""
    with writing(staging.folder):
        if identity(staging.folder) != staging.identity:
            raise SinkUnwritable(
                f"{staging.folder}: is not the folder in which this run began; the sink went away meanwhile.",
                hint="Check that it is mounted, then run again.",
            )
