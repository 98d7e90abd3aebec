"""The inputs of an audit, as far as they can be judged without knowing what was before."""

from collections.abc import Callable

from app.codecs import BadRecord, Decoder
from app.core.messages import Fill, Signal
from app.processor import Record


class InputReader:
    """Tells good records from those that are bad whatever was before."""

    def __init__(self, partition_of: Callable[[bytes], int] | None, decoder: Decoder) -> None:
        """`partition_of`: from a key to its partition, None to check none."""
        self._partition_of = partition_of
        self._decoder = decoder

    def signal(self, record: Record) -> Signal | None:
        """Return the signal, None if the record is bad."""
        try:
            signal = self._decoder.signal(record.value)
        except BadRecord:
            return None
        return signal if self._is_addressed(record, signal.portfolio_id) else None

    def fill(self, record: Record) -> Fill | None:
        """Return the fill, None if the record is bad."""
        try:
            fill = self._decoder.fill(record.value)
        except BadRecord:
            return None
        return fill if self._is_addressed(record, fill.portfolio_id) else None

    def _is_addressed(self, record: Record, portfolio_id: str) -> bool:
        if record.key != portfolio_id.encode():
            return False
        return self._partition_of is None or self._partition_of(record.key) == record.partition
