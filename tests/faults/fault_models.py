"""Models that raise, hang or die. They travel by value: a worker has no ``tests`` package."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Raising:
    """a + 2 b, but raises on a batch that holds a row with ``a`` above ``limit``."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        if (frame["a"] > self.limit).any():
            raise ValueError("more than I can take")
        return (frame["a"] + 2 * frame["b"]).to_numpy(np.float64)


class Dying:
    """a + 2 b, but its process dies ``times`` times first, which it counts in a file."""

    def __init__(self, log: str, times: int) -> None:
        self.log, self.times = log, times

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        with Path(self.log).open("a") as file:
            file.write("x")
        if Path(self.log).stat().st_size <= self.times:
            os.kill(os.getpid(), signal.SIGKILL)
        return (frame["a"] + 2 * frame["b"]).to_numpy(np.float64)
