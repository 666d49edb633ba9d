"""Send a run to the systems that are configured. What fails here fails nothing else: it is a warning.

Each system has a time of its own to answer, after which the run goes on without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from pipelines.config_observability import Observability
from pipelines.records import Observed

PATIENCE = 15.0  # seconds for one system, its own retries included


def begun(wanted: Observability, seen: Observed) -> tuple[str, ...]:
    """Tell that a run begins; returns warnings."""
    if not wanted.openlineage:
        return ()

    def act() -> None:
        from pipelines.observability import openlineage

        openlineage.send([openlineage.start(seen)])

    return _tried("OpenLineage", act)


def export(wanted: Observability, seen: Observed) -> tuple[str, ...]:
    """Export a run that has ended, well or not; returns warnings."""
    warnings: tuple[str, ...] = ()
    if path := wanted.prometheus:

        def write() -> None:
            from pipelines.observability import prometheus

            prometheus.write(seen, path)

        warnings += _tried("Prometheus", write)
    if wanted.opentelemetry:

        def send() -> None:
            from pipelines.observability import opentelemetry

            opentelemetry.send(seen)

        warnings += _tried("OpenTelemetry", send)
    if wanted.openlineage and seen.record.status != "already_published":  # such a run has not begun anything

        def end() -> None:
            from pipelines.observability import openlineage

            openlineage.send([openlineage.end(seen)])

        warnings += _tried("OpenLineage", end)
    return warnings


def _tried(system: str, act: Callable[[], None]) -> tuple[str, ...]:
    problem = [f"no answer within {PATIENCE:g} s"]

    def run() -> None:
        try:
            act()
            problem.clear()
        except Exception as error:  # the libraries', requests' and the system's; none is worth the run
            first = (str(error).splitlines() or [""])[0][:300]
            problem[:] = [f"{type(error).__name__}: {first}"]

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return tuple(f"the run could not be exported to {system}: {text}" for text in problem[:1])
