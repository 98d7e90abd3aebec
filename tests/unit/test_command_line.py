"""The command `sizer` as a user meets it: statuses, one-line errors, help."""

import subprocess
import sys
from pathlib import Path

import pytest

SIGNAL = (
    '{"topic":"signals","key":"PF-1","value":{"signal_id":"S-1","portfolio_id":"PF-1","symbol":"X","side":"BUY",'
    '"confidence":0.9,"portfolio_value":"100000","generated_at":"2026-01-05T12:00:00Z"}}'
)


def sizer(*arguments: str, text: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "", "COLUMNS": "120", **environment},
        cwd=Path(__file__).parents[2],
    )


def test_simulate_answers_a_file_and_standard_input_alike(tmp_path: Path) -> None:
    path = tmp_path / "input.jsonl"
    path.write_text(f"{SIGNAL}\n\n{SIGNAL}")
    from_file, from_input = sizer("simulate", str(path)), sizer("simulate", text=path.read_text())
    assert from_file.returncode == from_input.returncode == 0
    assert from_file.stdout == from_input.stdout
    assert from_file.stdout.splitlines()[-1] == '{"ignored":"DUPLICATE_SIGNAL"}'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "not JSON"),
        ("[]", "not an object"),
        ('{"topic":"orders","key":"A","value":{}}', "topic: 'orders'"),
        ('{"topic":"signals","value":{}}', "key: is missing"),
        ('{"topic":"signals","key":1,"value":{}}', "key: 1"),
        ('{"topic":"signals","key":"A"}', "exactly one of value"),
        ('{"topic":"signals","key":"A","value":{},"value_text":""}', "exactly one of value"),
        ('{"topic":"signals","key":"A","value":[]}', "value: []"),
        ('{"topic":"signals","key":"A","value_base64":"?"}', "value_base64"),
        ('{"topic":"signals","key":"A","value":{},"now":5}', "now: "),
        ('{"topic":"signals","key":"A","value":{},"offset":-1}', "offset: -1"),
        ('{"topic":"signals","key":"A","value":{},"headers":{"a":1}}', "headers: "),
        ('{"policy":{"exposure_limit":"0.02"}}', "exposure_limit = 0.02: looser"),
        ('{"policy":5}', "policy"),
    ],
)
def test_simulate_names_the_line_that_it_cannot_take(line: str, said: str) -> None:
    result = sizer("simulate", text=f"{SIGNAL}\n{line}\n{SIGNAL}\n")
    assert result.returncode == 2
    assert len(result.stdout.splitlines()) == 2  # what came before it was answered
    assert result.stderr.startswith("sizer: line 2: ")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_simulate_with_partitions_checks_the_keys() -> None:
    assert "WRONG_PARTITION" not in sizer("simulate", "--partitions", "1", text=SIGNAL).stdout
    assert "WRONG_PARTITION" in sizer("simulate", "--partitions", "8", text=SIGNAL).stdout
    result = sizer("simulate", "--partitions", "8", text=SIGNAL[:-1] + ',"partition":8}')
    assert (result.returncode, result.stderr[:13]) == (2, "sizer: line 1")


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["simulate", "/nowhere"], {}, "/nowhere: cannot be read"),
        (["simulate", "--policy", "/nowhere"], {}, "policy file /nowhere: cannot be read"),
        (["worker"], {"SIZER_PARTITIONER": "md5"}, "SIZER_PARTITIONER='md5'"),
        (["worker"], {"SIZER_WEB_PORT": "x"}, "SIZER_WEB_PORT='x'"),
        (["worker"], {"SIZER_BOOTSTRAP_SERVERS": "a:9092;b:9092"}, "expected host:port"),
        (["verify"], {"SIZER_BOOTSTRAP_SERVERS": "localhost:99999"}, "expected host:port"),
        (["worker"], {"SIZER_SESSION_TIMEOUT": "0"}, "SIZER_SESSION_TIMEOUT='0'"),
        (["worker"], {"SIZER_APP_ID": "a b"}, "SIZER_APP_ID='a b'"),
        (["worker"], {"SIZER_POLICY_FILE": "/nowhere"}, "policy file /nowhere"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(arguments: list[str], environment: dict[str, str], said: str) -> None:
    result = sizer(*arguments, **environment)
    assert result.returncode == 2
    assert result.stderr.startswith("sizer: ")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "command", ["worker", "broker", "registry", "topics create", "topics check", "simulate", "demo"]
)
def test_help_teaches_by_example(command: str) -> None:
    result = sizer(*command.split(), "--help")
    assert result.returncode == 0
    assert "example" in result.stdout.lower()
    assert f"sizer {command}" in result.stdout.replace("| sizer", "sizer")


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "simulate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate((SIGNAL + "\n").encode() * 100)
    assert errors == b""
