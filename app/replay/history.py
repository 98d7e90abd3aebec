"""The history of one partition, as a consumer that reads committed records sees it."""

from collections.abc import Mapping
from typing import NamedTuple

from app.processor import Record
from app.topics import INPUTS, OUTPUTS

TOPICS = (*INPUTS, *OUTPUTS)


class History(NamedTuple):
    """All records of one partition number, by logical topic, in offset order."""

    partition: int
    records: Mapping[str, list[Record]]
