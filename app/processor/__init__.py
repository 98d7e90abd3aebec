"""One partition: records in -> rows changed, records out, next positions. No Kafka: state is behind a mapping of rows.

`Processor` is the whole way of an event, bytes to bytes. The worker, `sizer simulate` and every analyst's tool run
this same code over another source of records.
"""

from app.processor.processor import Processor
from app.processor.records import Outcome, Produced, Record
from app.processor.store import TABLES, Change, MemoryStore, Store

__all__ = ["TABLES", "Change", "MemoryStore", "Outcome", "Processor", "Produced", "Record", "Store"]
