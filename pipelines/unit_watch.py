"""Look at the units while workers commit them: a run that cannot succeed any more ends at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pipelines.errors import DataRefused
from pipelines.scoring import units
from pipelines.scoring.units import Unit

PERIOD = 0.5  # seconds between two looks


def hopeless(refused: int, read: int, rows: int | str, limit: float) -> DataRefused:
    """More than ``limit`` of all ``rows`` are refused already."""
    return DataRefused(
        f"{refused} rows were quarantined when {read} of {rows} were read, limit {limit:.2%} of all; the run was "
        "stopped early.",
        hint="Look at the quarantine, which is kept under refused/; correct the input or raise "
        "quality.max_quarantined.",
    )


class Watch:
    """While the context is open, tells workers to stop once more than ``limit`` of all rows are refused.

    How many rows a text has is not known; what counts is how many it can have at most. Lines too short to be counted
    there are refused themselves.
    """

    def __init__(self, folder: Path, parts: Sequence[Unit], limit: float) -> None:
        self.hopeless = False
        self.read = self.refused = 0
        self._folder, self._limit = folder, limit
        self._waiting = {u.id: u.rows for u in parts}
        self._rows = self._most = sum(u.rows for u in parts)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def refusal(self) -> DataRefused:
        """What to tell of a hopeless run."""
        rows = self._rows if self._rows == self._most else f"at most {self._rows}"
        return hopeless(self.refused, self.read, rows, self._limit)

    def _look_on(self) -> None:
        while not self._over.wait(PERIOD):
            self._look()
            if self.refused > self._limit * self._rows:
                self.hopeless = bool(self._waiting)
                if self.hopeless:
                    (self._folder / units.STOP).touch()
                return

    def _look(self) -> None:
        for unit in [u for u in self._waiting if units.is_done(self._folder, u)]:
            rows = units.rows_of(self._folder, unit)
            self.read += rows.read
            self.refused += rows.quarantined
            self._rows += rows.read + rows.rest - self._waiting.pop(unit)
