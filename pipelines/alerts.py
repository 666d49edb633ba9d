"""Tell whoever is to know how a run ended; nothing that happens here changes how it ended."""

from __future__ import annotations

from dataclasses import asdict

from pipelines import ledger, notify, retrain
from pipelines.attempt import Attempt
from pipelines.records import RetrainEvent, RunRecord
from pipelines.storage import AnyPath


def event(attempt: Attempt, root: AnyPath, status: str) -> RetrainEvent | None:
    """The retraining event that this run gives cause for; it stands on the run's page and in its record."""
    history = (*ledger.history(root), attempt.record(status))
    found = retrain.decide(attempt.config.retrain, history)
    if found:
        attempt.facts["event"] = found.to_dict()
    return found


def tell(attempt: Attempt, record: RunRecord, found: RetrainEvent | None) -> None:
    """Send alerts and the event; what became of them is in the record."""
    outcomes = notify.send(attempt.config, record) + (notify.emit(attempt.config, found) if found else ())
    attempt.facts["notified"] = [asdict(o) for o in outcomes]
