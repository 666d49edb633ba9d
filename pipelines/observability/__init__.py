"""A run for the systems that watch many: Prometheus, OpenTelemetry and OpenLineage.

Each has a module that turns what is known of a run into what that system reads, and sends it. Their libraries are
extras, imported where they are used; :func:`pipelines.observability.exporting.export` is the one door.
"""

from pipelines.observability.exporting import begun, export

__all__ = ["begun", "export"]
