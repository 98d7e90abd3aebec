"""The worker's log: one line for an outage, not ten a second."""

import logging

from app.errors import UserError
from app.stream.logs import _LibraryFilter


def lines(*records: tuple[str, int, str]) -> list[str]:
    chosen = _LibraryFilter()
    made = [logging.LogRecord(name, level, "", 0, message, (), None) for name, level, message in records]
    return [record.getMessage() for record in made if chosen.filter(record)]


def test_an_outage_is_told_once_and_so_is_its_end() -> None:
    away = ("aiokafka.conn", logging.ERROR, "Unable connect to node")
    back = ("aiokafka.consumer.group_coordinator", logging.INFO, "Discovered coordinator 1 for group")
    other = ("aiokafka", logging.WARNING, "Heartbeat failed: it is rebalancing")
    outage = "brokers do not answer, trying again: Unable connect to node"
    assert lines(back, other, away, away, other, away, back, back) == [outage, "brokers answer again"]
    assert lines(away, back, away) == [outage, "brokers answer again", outage]


def test_the_worker_speaks_for_itself_and_libraries_warn_once() -> None:
    warning = ("faust.tables", logging.WARNING, "hm")
    own = ("sizer", logging.INFO, "assigned")
    assert lines(own, warning, own, warning, ("mode", logging.INFO, "Starting")) == ["assigned", "hm", "assigned"]


def test_an_error_that_the_worker_tells_is_not_told_by_faust() -> None:
    error = UserError("no")
    record = logging.LogRecord("mode", logging.ERROR, "", 0, "Crashed", (), (UserError, error, None))
    assert not _LibraryFilter().filter(record)
