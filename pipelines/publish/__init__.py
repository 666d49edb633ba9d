"""Write-audit-publish on plain Parquet: stage beside, audit what is there, promote by one rename.

The truth is the commit record: numbered, put if absent, written before anything becomes visible. A run that
dies is finished (commit record there) or forgotten (not there) by the next one that takes the same lock.
Folders below ``_work`` and ``_control`` are never below a table's root, so that no reader can see them.
"""

from pipelines.publish.commits import newest_commit, promote, put_if_absent, recover
from pipelines.publish.derived import replace_table
from pipelines.publish.exchange import swap
from pipelines.publish.locks import lock
from pipelines.publish.slots import TABLES, Slot, Staging, slot, writing
from pipelines.publish.staging import collect_table, discard, footer_rows, open_staging, stage, write_table

__all__ = [
    "TABLES", "Slot", "Staging", "collect_table", "discard", "footer_rows", "lock", "newest_commit", "open_staging",
    "promote", "put_if_absent", "recover", "replace_table", "slot", "stage", "swap", "write_table", "writing",
]  # fmt: skip
