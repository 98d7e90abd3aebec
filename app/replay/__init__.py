"""Recomputing history: the auditor, and what analysts look at decisions with. `docs/analysts.md` shows how.

from app.replay import open_source, replay, steps

source = open_source("raw")            # a folder of raw records; without it the topics of the settings
report = replay(source)                # identical, or each difference
for step in steps(source, portfolio="PF-1", trades=True):
print(step.record.offset, step.now, step.outcome)
export(source, "tables")               # typed tables, each run adds what is new
open_tables("tables").sql("SELECT portfolio_id, sum(result) FROM trades GROUP BY ALL")
"""

from app.replay.findings import Audit, FieldDifference, Finding
from app.replay.library import export, open_source, open_tables, steps
from app.replay.matching import Match
from app.replay.recompute import Effect, OrderChange
from app.replay.replaying import PartitionReplay, Snapshot
from app.replay.source import BrokenSourceError, PartitionLog, Source
from app.replay.step import Status, Step
from app.replay.trades import Trade
from app.replay.verdict import Replayed, Report, Span, replay
from app.replay.verify import verify_topics

__all__ = [
    "Audit",
    "BrokenSourceError",
    "Effect",
    "FieldDifference",
    "Finding",
    "Match",
    "OrderChange",
    "PartitionLog",
    "PartitionReplay",
    "Replayed",
    "Report",
    "Snapshot",
    "Source",
    "Span",
    "Status",
    "Step",
    "Trade",
    "export",
    "open_source",
    "open_tables",
    "replay",
    "steps",
    "verify_topics",
]
