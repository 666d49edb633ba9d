"""What is known of the stores behind a scheme, and so whether a sink may be there.

Publishing asks two things of a store: that a folder gets its name at one instant or not at all, and that of two who
create one name one fails. Where either is missing, a reader could see a part of a run, or two runs of one date.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Store:
    """``publishes``: a sink may be there; ``says`` is what the store promises, or why it is not enough."""

    publishes: bool
    says: str


_NAMENODE = (
    "a rename is one entry in the name node's log: at one instant, and refused where the name is taken"
)
_COPIES = "a folder is no object: renaming one copies file after file, and a reader sees each as it arrives"
STORES: dict[str, Store] = {
    "hdfs": Store(True, _NAMENODE),
    "webhdfs": Store(True, _NAMENODE),
    "swebhdfs": Store(True, _NAMENODE),
    "viewfs": Store(True, "that of the file system mounted there; a rename across two mounts is refused"),
    "abfs": Store(
        True, "with a hierarchical namespace a rename is one act; without one it is not: do not use it"
    ),
    "abfss": Store(
        True, "with a hierarchical namespace a rename is one act; without one it is not: do not use it"
    ),
    "s3": Store(False, _COPIES),
    "s3a": Store(False, _COPIES),
    "s3n": Store(False, _COPIES),
    "gs": Store(False, _COPIES),
    "wasb": Store(False, _COPIES),
    "wasbs": Store(False, _COPIES),
}
_UNKNOWN = Store(False, "nobody has said that it renames a folder at one instant")


def store_of(scheme: str) -> Store:
    """What is known of the stores of a scheme; of one that nobody knows, nothing is believed."""
    return STORES.get(scheme.lower(), _UNKNOWN)
