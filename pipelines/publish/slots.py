"""Where things are: the place of a date in a sink, and the folder of one attempt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipelines import storage
from pipelines.errors import ConfigInvalid, SinkUnwritable
from pipelines.storage import AnyPath, HadoopPath

TABLES = ("quarantine", "profile_metrics", "drift_metrics", "predictions")  # predictions become visible last
UNITS = "units"


@dataclass(frozen=True)
class Slot:
    """The place of one logical date in a sink; ``root`` is ``<sink.path>/<name>``."""

    root: AnyPath
    date: str

    def live(self, table: str) -> AnyPath:
        return self.root / table / f"run_date={self.date}"

    @property
    def commits(self) -> AnyPath:
        return self.root / "_control" / "commits" / f"run_date={self.date}"


@dataclass(frozen=True)
class Staging:
    """A folder of one attempt; ``written`` is where Spark writes, ``tables`` what will be promoted.

    ``identity`` is the folder's device and inode, where the store has such: Spark makes the folder again where the
    sink went away.
    """

    slot: Slot
    run_id: str
    folder: AnyPath
    identity: tuple[int, int] | None
    work: str = "any"

    @property
    def written(self) -> AnyPath:
        return self.folder / "written"

    @property
    def units(self) -> AnyPath:
        """Where workers commit what they have scored; a later attempt at the same run goes on from there."""
        return self.folder / UNITS / self.work

    def table(self, name: str) -> AnyPath:
        return self.folder / "tables" / name / f"run_id={self.run_id}"


def slot(sink: str, name: str, date: str) -> Slot:
    """The place of a date; nothing is looked at yet.

    Raises:
        ConfigInvalid: the sink is on a store that does not rename a folder at one instant.
    """
    root = storage.place(sink)
    if isinstance(root, HadoopPath):
        scheme = sink.partition("://")[0]
        if not (store := storage.store_of(scheme)).publishes:
            raise ConfigInvalid(
                f"sink.path: found {sink!r}, expected a mounted path or a store that renames folders at one instant "
                f"({', '.join(n for n, known in storage.STORES.items() if known.publishes)}). {scheme}: {store.says}.",
                hint="Mount it (/Volumes, NFS, FUSE) and give the mounted path, or publish to another store.",
            )
    return Slot(root / name, date)


@contextmanager
def writing(path: AnyPath) -> Iterator[None]:
    """Turn the operating system's refusals below a sink into one error with a next step."""
    try:
        yield
    except OSError as error:
        raise SinkUnwritable(
            f"sink.path: cannot write {str(error.filename or path)!r}: {error.strerror or error}.",
            hint="Check its permissions, that it is mounted, and that its disk has room.",
        ) from error


def leftovers(place: Slot) -> list[AnyPath]:
    """Folders of attempts at this date that did not end."""
    return storage.found(place.root / "_work", f"run_date={place.date}~*")


def require_same(staging: Staging) -> None:
    """Raises SinkUnwritable where the staging folder is another one than that in which the attempt began."""
    with writing(staging.folder):
        if storage.identity(staging.folder) != staging.identity:
            raise SinkUnwritable(
                f"{staging.folder}: is not the folder in which this run began; the sink went away meanwhile.",
                hint="Check that it is mounted, then run again.",
            )
