"""The audit of one partition's history that is at hand as a whole."""

from collections.abc import Mapping

from app.replay.auditor import Auditor
from app.replay.findings import Audit, Finding
from app.replay.history import History
from app.replay.walk import Desk
from app.topics import INPUTS, OUTPUTS

__all__ = ["Audit", "Finding", "audit"]


def audit(
    history: History,
    partition_count: int,
    partitioner_name: str,
    topic_names: Mapping[str, str],
    rows: Mapping[str, Mapping[bytes, bytes]] | None = None,
) -> Audit:
    """Audit a complete history: every input must have its outcome.

    `topic_names`: real names of the topics by logical name, of the inputs at least. `rows`: all live rows by table, of
    the changelogs or of a local store, at whatever positions they stand; None: the state (I4) is not judged.
    """
    auditor = Auditor(Desk(history.partition, partition_count, partitioner_name, topic_names))
    for topic in (*OUTPUTS, *INPUTS):
        for record in history.records[topic]:
            auditor.feed(record)
    if rows is not None:
        auditor.judge_state(rows)
    auditor.run(conclude=True)
    auditor.end_round(is_last=True)
    return auditor.audit()
