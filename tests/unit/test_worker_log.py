"""The worker's log: one line for an outage, not ten a second."""

import logging
import os
from contextlib import suppress

import pytest

from app.errors import UserError
from app.stream.logs import _dropped_as_text, _LibraryFilter, _Writer


def lines(*records: tuple[str, int, str]) -> list[str]:
    chosen = _LibraryFilter()
    made = [logging.LogRecord(name, level, "", 0, message, (), None) for name, level, message in records]
    return [record.getMessage() for record in made if chosen.filter(record)]


def test_a_log_that_nobody_reads_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    monkeypatch.setattr("app.stream.logs._STDERR", writing)
    monkeypatch.setattr("app.stream.logs._FLUSH_SECONDS", 0.1)
    monkeypatch.setattr("app.stream.logs._LINES_LIMIT", 5)
    writer = _Writer(_dropped_as_text)
    for number in range(20):
        writer.emit(logging.LogRecord("sizer", logging.INFO, "", 0, f"line {number}", (), None))
    writer.flush()
    read = b""
    while b"line 4" not in read:
        read += os.read(reading, 65_536)
    assert b"line 0\n" in read
    assert b"lines of this log found no room" in read
    writer.emit(logging.LogRecord("sizer", logging.INFO, "", 0, "and on", (), None))
    while not read.endswith(b"and on\n"):
        read += os.read(reading, 65_536)


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
