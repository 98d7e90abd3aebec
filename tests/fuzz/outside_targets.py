"""What a user gives: lines for `sizer simulate`, a policy file, settings. A mistake is told in one line."""

import io
import os
import re
import sys
import tempfile
from functools import cache
from pathlib import Path
from unittest import mock

import orjson

from app.cli.main import simulate as simulate_command
from app.codecs.policy_file import load_policy
from app.core.policy import TABLE, Policy, Tighter
from app.errors import UserError
from app.settings import load_settings

PARTITIONS = b"--partitions 4\n"
"""An input that starts so is run with this option."""
TOPIC_PART = re.compile(r"[A-Za-z0-9._-]{0,100}")


def simulate(data: bytes) -> str:
    """Run `sizer simulate` on these lines: all are answered, or those before the one that it names."""
    partitions = 4 if data.startswith(PARTITIONS) else None
    lines = data.removeprefix(PARTITIONS)
    answers, mistake = run_simulate(lines, partitions)
    for answer in answers.splitlines():
        assert isinstance(orjson.loads(answer), dict)
    if mistake is None:
        return "status 0"
    told = re.fullmatch(r"line ([0-9]+): [^\n]+", mistake)
    assert told, f"not one line that names a line: {mistake[:300]!r}"
    before = b"".join(line + b"\n" for line in lines.split(b"\n")[: int(told[1]) - 1])
    assert run_simulate(before, partitions) == (answers, None), "the lines before it have other answers alone"
    return "status 2"


def run_simulate(given: bytes, partitions: int | None) -> tuple[bytes, str | None]:
    """Run the command's own function. Returns its output and the line told before status 2, if anything is wrong."""
    output = io.BytesIO()
    with (
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(given))),
        mock.patch.object(sys, "stdout", io.TextIOWrapper(output)),
    ):
        try:
            simulate_command(None, None, partitions)
        except UserError as error:
            return output.getvalue(), str(error)
        return output.getvalue(), None


def policy(data: bytes) -> str:
    """Load a policy file: a mistake in one line, or a policy that is nowhere looser than the table."""
    path = folder() / "policy.toml"
    path.write_bytes(data)
    try:
        loaded = load_policy(path)
    except UserError as error:
        check_one_line(error, str(path))
        return "refused"
    for name, row in TABLE.items():
        value = loaded.parameters[name]
        assert type(value) is type(row.table)
        assert value == round(value, 6)
        if row.tighter is Tighter.FREE:
            assert 60 <= value <= 86_400
        else:
            assert 0 <= value <= row.table if row.tighter is Tighter.SMALLER else value >= row.table
    again = Policy(orjson.loads(loaded.canonical))
    assert (again.parameters, again.policy_id) == (loaded.parameters, loaded.policy_id)
    return "taken"


def settings(data: bytes) -> str:
    """Read settings from an environment and, after U+001E, a `.env` file."""
    environment, _, dotenv = data.partition(b"\x1e")
    pairs = [line.partition(b"=") for line in environment.replace(b"\x00", b"").split(b"\n")]
    given = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs if name}
    (folder() / ".env").write_bytes(dotenv)
    former = Path.cwd()
    os.chdir(folder())
    try:
        with mock.patch.dict(os.environ, given | {"HOME": "/"}, clear=True):
            loaded = load_settings()
    except UserError as error:
        check_one_line(error, "SIZER_" if not dotenv else "")
        return "refused"
    finally:
        os.chdir(former)
    assert loaded.bootstrap_servers
    assert loaded.app_id
    assert TOPIC_PART.fullmatch(loaded.app_id)
    assert TOPIC_PART.fullmatch(loaded.topic_prefix)
    assert loaded.partitioner in {"murmur2", "crc32", "any"}
    assert set(loaded.output_formats.values()) <= {"json", "avro", "avro-single-object"}
    assert "avro" not in loaded.output_formats.values() or loaded.schema_registry_url
    assert 0 <= loaded.web_port <= 65_535
    assert 1 <= loaded.session_timeout <= 300
    return "taken"


def check_one_line(error: UserError, named: str) -> None:
    text = str(error)
    assert named in text
    assert "\n" not in text, f"not one line: {text[:300]!r}"


@cache
def _held_folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="sizer-fuzz-")


def folder() -> Path:
    """Return a folder that goes with the process."""
    return Path(_held_folder().name)
