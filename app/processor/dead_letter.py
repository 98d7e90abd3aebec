"""The dead letter queue's record: the original, untouched, plus headers that say what is wrong and what to do."""

from app.codecs import canonical_time
from app.core.messages import Refused
from app.processor.records import Produced, Record

MAXIMUM_MESSAGE = 1000
CODE_HEADER = "__streams.errors.exception"
MESSAGE_HEADER = "__streams.errors.message"
TOPIC_HEADER = "__streams.errors.topic"
PARTITION_HEADER = "__streams.errors.partition"
OFFSET_HEADER = "__streams.errors.offset"
NOW_HEADER = "sizer.now"


def dead_letter(record: Record, refused: Refused, topic_name: str, now: int | None) -> Produced:
    """Return the record for the dead letter queue. Ours are appended after the original headers: the last one wins.

    `now`: the time judged by, where a signal was refused for its time.
    """
    message = refused.message.encode("ascii", "backslashreplace")[:MAXIMUM_MESSAGE]
    headers = [
        (CODE_HEADER, refused.code.encode()),
        (MESSAGE_HEADER, message),
        (TOPIC_HEADER, topic_name.encode()),
        (PARTITION_HEADER, str(record.partition).encode()),
        (OFFSET_HEADER, str(record.offset).encode()),
    ]
    if now is not None:
        headers.append((NOW_HEADER, canonical_time(now).encode()))
    return Produced(f"{record.topic}.dlq", record.key, record.value, (*record.headers, *headers))
