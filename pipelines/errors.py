"""Errors named by what to do next.

Every failure that a run can report is a subclass of :class:`ScorelineError`. The class carries the
process exit code (after ``sysexits.h`` where it has a word for it) and whether a scheduler may simply
try again; the instance carries what was found and a hint: the next step for the person on call.
"""

from __future__ import annotations

import signal
from typing import Any

MARKER = "scoreline-model-failed:"  # around what a worker tells the driver in the message of a failed task


class ScorelineError(Exception):
    """Root of all errors that a run reports.

    Args:
        message: what was found and what was expected.
        hint: what to do next, in one sentence.
    """

    exit_code = 70
    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.record: Any = None  # the RunRecord of the run that this error ended, once there is one

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageWrong(ScorelineError):
    """The command line cannot be understood: fix the call."""

    exit_code = 64


class DataRefused(ScorelineError):
    """The quality gate or the quarantine limit refused the data: look at the quarantine."""

    exit_code = 65


class InputUnavailable(ScorelineError):
    """The input is missing, unreadable or empty: retry later, then look."""

    exit_code = 66
    retryable = True


class ModelUnavailable(ScorelineError):
    """The registry or the model cannot be had: retry."""

    exit_code = 69
    retryable = True


class SparkUnavailable(ScorelineError):
    """The Spark Connect server cannot be reached, or has forgotten the session: retry."""

    exit_code = 69
    retryable = True


class ModelFailed(ScorelineError):
    """The model as a whole cannot score this input: look at the model."""

    exit_code = 70


class InvariantBroken(ScorelineError):
    """Counts do not reconcile. Nothing was published; this is our fault: report it."""

    exit_code = 70


class SinkUnwritable(ScorelineError):
    """The sink cannot be written: look at its permissions and its disk."""

    exit_code = 73


class RunActive(ScorelineError):
    """Another run of the same name and date is active: retry later."""

    exit_code = 75
    retryable = True


class ConfigInvalid(ScorelineError):
    """The configuration or the schema contract is wrong: fix the configuration."""

    exit_code = 78


class DriftBlocked(ScorelineError):
    """Drift above the limit and ``on_drift: block``: nothing was published."""

    exit_code = 11


class Stopped(KeyboardInterrupt):
    """A signal ended the run; ``exit_code`` is 128 + its number, as shells have it.

    No :class:`ScorelineError`: a loop over dates that catches those must end too.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.exit_code = 128 + number
        self.message = f"stopped by {signal.Signals(number).name}."
        self.hint = "Run again; what was published before is untouched."
        self.record: Any = None
