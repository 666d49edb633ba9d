"""The page of a run, and the index over all runs of a pipeline.

One self-contained HTML file each: no script, no network, no font or image from elsewhere, so that a page
can be mailed, archived and opened years later. This stage decides nothing: every figure on a page is in the
records, only arranged and put into words. Everything that came from data (column names, values, messages)
is text to the templates, never markup.
"""

from __future__ import annotations

from pipelines.report.pages import page_address, render_index, render_run
from pipelines.report.quality import with_quality

__all__ = ["page_address", "render_index", "render_run", "with_quality"]
