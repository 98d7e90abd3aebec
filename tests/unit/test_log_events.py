"""The log as an interface: names of events that docs/logs.md has, and one JSON object a line whatever is logged."""

import ast
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

import app.stream
from app.errors import UserError
from app.stream.logs import refusal

PAGE = Path(__file__).parents[2] / "docs" / "logs.md"
LEVELS = {"debug", "info", "warning", "error", "critical"}
NOT_BY_OUR_LOGGER = {"refused", "library", "lines dropped", "brokers do not answer", "brokers answer again"}
SCRIPT = """
import logging, threading, warnings
import structlog
from app.stream.logs import configure_logging
configure_logging("json")
log = structlog.get_logger("sizer")
secret = "hunter2"
log.info("assigned", partitions=[0, 1], name="\\ud800 Zürich\\n", path=object())
try:
    raise ValueError("first line\\nsecond line")
except ValueError as error:
    log.critical("in doubt", reason="x", exc_info=error)
    logging.getLogger("faust.tables").exception("Crashed reason=%r", error)
logging.getLogger("asyncio").error("Task exception was never retrieved")
logging.getLogger("aiokafka.conn").error("Unable to connect")
logging.getLogger("aiokafka").info("Discovered coordinator 1")
logging.getLogger("faust").info("is not told")
logging.getLogger("faust").warning("wrong %d arguments", "three")
warnings.warn("old", DeprecationWarning, stacklevel=1)
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise RuntimeError("the end")
"""


def events() -> dict[str, str]:
    """Return the level of each event that our code logs, by name."""
    found = {}
    for path in sorted(Path(app.stream.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "_log"
            ):
                name = node.args[0]
                assert isinstance(name, ast.Constant), f"{path.name}:{node.lineno}: an event's name must not vary"
                found[name.value] = node.func.attr
    return found


def told() -> dict[str, str]:
    rows = re.findall(r"^\| `([^`]+)` \| ([a-z ]+) \|", PAGE.read_text(), re.MULTILINE)
    return dict(rows)


def test_the_page_has_every_event_and_no_other() -> None:
    logged = {name: level for name, level in events().items() if level != "debug"}
    page = told()
    assert {name: level for name, level in page.items() if name not in NOT_BY_OUR_LOGGER} == logged
    assert page.keys() >= NOT_BY_OUR_LOGGER
    for name in events().keys() - logged.keys():
        assert f"`{name}`" in PAGE.read_text()


def test_fields_of_events_are_on_the_page() -> None:
    rows = dict(re.findall(r"^\| `([^`]+)` \| [a-z ]+ \| ([^|]*) \|", PAGE.read_text(), re.MULTILINE))
    found: dict[str, set[str]] = {}
    for path in sorted(Path(app.stream.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("_log."):
                name = ast.literal_eval(node.args[0])
                fields = {keyword.arg or "" for keyword in node.keywords}
                found.setdefault(name, set()).update("exception" if f == "exc_info" else f for f in fields)
    for name, fields in found.items():
        if name in rows:
            assert fields == set(re.findall(r"`([a-z_]+)`", rows[name])), name


def test_every_line_is_an_object_whatever_is_logged() -> None:
    ended = subprocess.run([sys.executable, "-W", "always", "-c", SCRIPT], capture_output=True, check=False, timeout=60)
    lines = [json.loads(line) for line in ended.stderr.decode("ascii").splitlines()]
    assert ended.returncode == 1
    assert b"hunter2" not in ended.stderr
    for line in lines:
        assert list(line)[:3] == ["timestamp", "level", "event"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])
    assert [(line["event"], line.get("library")) for line in lines] == [
        ("assigned", None),
        ("in doubt", None),
        ("library", "faust.tables"),
        ("library", "asyncio"),
        ("brokers do not answer", "aiokafka.conn"),
        ("brokers answer again", "aiokafka"),
        ("library", "faust"),
        ("library", "py.warnings"),
        ("library", "python"),
        ("library", "python"),
    ]
    assert lines[0]["name"] == "\ud800 Zürich\n"
    for number, error in ((1, "second line"), (2, "second line"), (8, "ZeroDivisionError"), (9, "the end")):
        assert lines[number]["exception"].startswith("Traceback")
        assert error in lines[number]["exception"]
    assert lines[6]["message"].startswith("wrong %d arguments (TypeError(")
    assert lines[2]["message"].startswith("Crashed reason=ValueError")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_refusal_is_one_line(log_format: str) -> None:
    line = refusal(UserError("SIZER_X=1: no"), log_format, 2)  # type: ignore[arg-type]  # both that there are
    if log_format == "text":
        assert line == "sizer: SIZER_X=1: no"
    else:
        told = json.loads(line)
        assert (told["event"], told["reason"], told["status"]) == ("refused", "SIZER_X=1: no", 2)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SIZER_WEB_PORT": "x"}, "sizer: SIZER_WEB_PORT='x'"),
        ({"SIZER_WEB_PORT": "x", "SIZER_LOG_FORMAT": "json"}, '"event": "refused", "reason": "SIZER_WEB_PORT=\'x\''),
        ({"SIZER_LOG_FORMAT": "xml"}, "sizer: SIZER_LOG_FORMAT='xml': Input should be 'text' or 'json'"),
        (
            {"SIZER_POLICY_FILE": "no.toml", "SIZER_LOG_FORMAT": "json"},
            '"event": "refused", "reason": "policy file no.toml: ',
        ),
    ],
)
def test_mistakes_before_the_start_are_told_in_the_form_that_was_asked_for(
    environment: dict[str, str], expected: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", "worker"],
        env={"PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])} | environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert expected in ended.stderr


def test_what_is_no_http_is_not_logged() -> None:
    from aiohttp.http_exceptions import BadHttpMessage

    from app.stream.logs import _LibraryFilter

    for error, is_logged in ((BadHttpMessage("junk"), False), (ValueError("ours"), True)):
        record = logging.LogRecord("aiohttp.server", logging.ERROR, "", 0, "Error handling", (), (None, error, None))  # type: ignore[arg-type]  # only the error is looked at
        assert _LibraryFilter().filter(record) is is_logged
