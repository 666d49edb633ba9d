"""A model that writes down what it does. It travels by value: a worker has no ``tests`` package."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Counting:
    """a + 2 b. Below ``folder``, ``loads`` gets the process of each load, and ``rows`` the ``b`` of each row scored."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._note("loads", [os.getpid()])

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        self._note("rows", [repr(v) for v in frame["b"]])
        return (frame["a"] + 2 * frame["b"]).to_numpy(np.float64)

    def _note(self, name: str, lines: list[Any]) -> None:
        with (Path(self.folder) / name).open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))


class Raising:
    """Cannot score anything."""

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        raise ValueError("more than I can take")


class Sleeping:
    """Takes its time."""

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        import time

        time.sleep(3600)
        return np.zeros(len(frame))
