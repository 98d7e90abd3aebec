"""Compare the real command with the reference model on generated input.

`python -m tests.model.compare --seeds 1-50 --count 500 --command ".venv/bin/sizer simulate"`: exit status 0 when every
line is the same (but for the free text of `__streams.errors.message`), 1 at the first difference, which is shown.
"""

from __future__ import annotations

import argparse
import random
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from tests.model.coverage import coverage
from tests.model.generate import generate, random_policy, toml
from tests.model.reference import MESSAGE_HEADER, Simulator
from tests.model.stories import stories
from tests.model.variants import generate_variants

DEFAULT_COMMAND = ".venv/bin/sizer simulate"
BAD_LINES = [
    b"x", b"[]", b'"x"', b"1", b"null", b"{}", b"{", b'{"topic":"signals"}', b'{"key":"a","value":{}}', b"\xff",
    b'{"topic":"orders","key":"a","value":{}}', b'{"topic":"sized_orders","key":"a","value":{}}',
    b'{"topic":null,"key":"a","value":{}}', b'{"topic":"signals","key":1,"value":{}}',
    b'{"topic":"signals","key":"a","value":"{}"}', b'{"topic":"signals","key":"a","value":1}',
    b'{"topic":"signals","key":"a","value":[]}', b'{"topic":"signals","key":"a","value_text":1}',
    b'{"topic":"signals","key":"a","value_base64":"*"}', b'{"topic":"signals","key":"a","value_base64":"YQ"}',
    b'{"topic":"signals","key":"a","value":{},"now":"yesterday"}',
    b'{"topic":"signals","key":"a","value":{},"now":true}', b'{"topic":"signals","key":"a","value":{},"offset":-1}',
    b'{"topic":"signals","key":"a","value":{},"offset":"1"}',
    b'{"topic":"signals","key":"a","value":{},"offset":1.0}',
    b'{"topic":"signals","key":"a","value":{},"offset":true}',
    b'{"topic":"signals","key":"a","value":{},"partition":-1}',
    b'{"topic":"signals","key":"a","value":{},"partition":"0"}',
    b'{"topic":"signals","key":"a","value":{},"headers":[]}',
    b'{"topic":"signals","key":"a","value":{},"headers":{"a":1}}', b'{"policy":[]}', b'{"policy":"x"}',
    b'{"policy":{"unknown":1}}', b'{"policy":{"base_fraction_1":"0.0011"}}', b'{"policy":{"phase_2_trades":19}}',
    b'{"policy":{"reservation_ttl":59}}', b'{"policy":{"reservation_ttl":86401}}',
    b'{"policy":{"exposure_limit":"0.0099999"}}', b'{"policy":{"exposure_limit":true}}',
    b'{"policy":{"phase_2_trades":20.5}}', b'{"policy":{"drawdown_on_losses":3}}',
    b'{"policy":{"drawdown_off_wins":1}}', b'{"policy":{"confidence_minimum":"0.59"}}',
    b'{"topic":"signals","key":"a","value":' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}",  # deeper than orjson writes
]  # fmt: skip


def run_command(
    command: str, lines: list[bytes], partitions: int | None, policy: dict[str, Any] | None, *, as_file: bool
) -> tuple[int, list[bytes], str]:
    """Run the real command: its exit status, its output lines and what it wrote to standard error."""
    with tempfile.TemporaryDirectory() as directory:
        words = shlex.split(command)
        data = b"".join(line + b"\n" for line in lines)
        if policy is not None:
            policy_file = Path(directory, "policy.toml")
            policy_file.write_text(toml(policy))
            words += ["--policy", str(policy_file)]
        if partitions is not None:
            words += ["--partitions", str(partitions)]
        if as_file:
            source = Path(directory, "input.jsonl")
            source.write_bytes(data)
            words.append(str(source))
        done = subprocess.run(words, input=b"" if as_file else data, capture_output=True, check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr.decode(errors="replace")


def comparable(line: bytes) -> bytes:
    """Give the line with the free text of a DLQ record's message replaced; anything odd stays as it is."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
    if isinstance(record, dict) and str(record.get("topic", "")).endswith(".dlq"):
        headers = record.get("headers")
        headers = headers if isinstance(headers, dict) else {}
        message = headers.get(MESSAGE_HEADER)
        if isinstance(message, str) and message.isascii() and 1 <= len(message) <= 1000:
            headers[MESSAGE_HEADER] = "?"
    return orjson.dumps(record)


def first_difference(lines: list[bytes], expected: list[list[bytes]], actual: list[bytes]) -> str | None:
    """Tell the first difference between the expected outputs of each input line and the actual lines."""
    position = 0
    for number, (line, outputs) in enumerate(zip(lines, expected, strict=True), start=1):
        for output in outputs:
            found = comparable(actual[position]) if position < len(actual) else b"(end of output)"
            if found != output:
                return difference_text(number, line, output, found, outputs)
            position += 1
    if position < len(actual):
        return f"output goes on after the last expected line: {actual[position].decode(errors='replace')}"
    return None


def difference_text(number: int, line: bytes, expected: bytes, found: bytes, outputs: list[bytes]) -> str:
    """Describe a difference, with the fields that differ when both are records of the same topic."""
    text = [
        f"input line {number}: {line.decode(errors='replace')}",
        f"  all expected: {[output.decode() for output in outputs]}",
        f"  expected: {expected.decode()}",
        f"  actual:   {found.decode(errors='replace')}",
    ]
    try:
        wanted, given = (orjson.loads(orjson.loads(one)["value"]) for one in (expected, found))
        text += [
            f"  field {name}: expected {wanted.get(name)!r}, actual {given.get(name)!r}"
            for name in {**wanted, **given}
            if wanted.get(name) != given.get(name)
        ]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        pass
    return "\n".join(text)


def lines_of(seed: int, count: int) -> list[bytes]:
    """Give the input lines of a seed; seed 0 is the exhaustive bad input, and the stories (of any length)."""
    if seed == 0:
        return generate_variants() + [line for lines in stories().values() for line in lines]
    return generate(seed, count, *settings_of(seed))


def settings_of(seed: int) -> tuple[int | None, dict[str, Any] | None]:
    """Give the partition count and the starting policy that a seed runs with; None for most."""
    rng = random.Random(-seed)
    partitions = rng.choice([1, 3, 16]) if seed % 3 == 1 else None
    return partitions, random_policy(rng) if seed % 4 == 1 else None


def compare(
    command: str, lines: list[bytes], partitions: int | None, policy: dict[str, Any] | None, *, as_file: bool
) -> tuple[str | None, Counter[str]]:
    """Compare command and model on these lines: the first difference or None, and what the run covered."""
    model = Simulator(partitions, policy)
    expected = [model.feed(line) for line in lines]
    counts = coverage(output for outputs in expected for output in outputs)
    status, actual, errors = run_command(command, lines, partitions, policy, as_file=as_file)
    difference = first_difference(lines, expected, actual)
    if difference is None and status != 0:
        difference = "every line is right, but the status is not 0"
    if difference is not None:
        difference += (
            f"\n  (partitions {partitions}, policy {policy}, status {status}, standard error: {errors[-2000:]!r})"
        )
    return difference, counts


def compare_seed(command: str, seed: int, count: int) -> tuple[str | None, Counter[str]]:
    """Compare on the input of one seed; seed 0 is the fixed input."""
    partitions, policy = settings_of(seed)
    lines = lines_of(seed, count)
    return compare(command, lines, partitions, policy, as_file=seed % 2 == 0)


def compare_bad_line(command: str, line: bytes) -> str | None:
    """Check that this line, the third of the input, ends the command with status 2, naming line 3; None if it does."""
    status, _, errors = run_command(command, [b"", b'{"policy":{}}', line], None, None, as_file=False)
    if status == 2 and "3" in errors and "Traceback" not in errors:
        return None
    return f"bad line {line!r}: expected status 2 and an error naming line 3, got {status}: {errors[-500:]!r}"


def main(arguments: list[str]) -> int:
    """Compare seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0-20", help="first-last, or one; seed 0 is the fixed input")
    parser.add_argument("--count", type=int, default=500, help="input lines per seed")
    parser.add_argument("--command", default=DEFAULT_COMMAND)
    parser.add_argument("--bad-lines", action="store_true", help="check the exit status on lines that are no records")
    parser.add_argument("--keep", type=Path, help="write the input of a seed that differs to this file")
    options = parser.parse_args(arguments)
    first, _, last = options.seeds.partition("-")
    total: Counter[str] = Counter()
    for seed in range(int(first), int(last or first) + 1):
        difference, counts = compare_seed(options.command, seed, options.count)
        total.update(counts)
        if difference is not None:
            if options.keep is not None:
                options.keep.write_bytes(b"".join(line + b"\n" for line in lines_of(seed, options.count)))
            sys.stdout.write(f"seed {seed}: {difference}\n")
            return 1
        sys.stdout.write(f"seed {seed}: {sum(counts.values())} lines alike\n")
        sys.stdout.flush()
    failures = [compare_bad_line(options.command, line) for line in BAD_LINES] if options.bad_lines else []
    for failure in filter(None, failures):
        sys.stdout.write(failure + "\n")
    for name, count in sorted(total.items()):
        sys.stdout.write(f"{count:8d}  {name}\n")
    return 1 if any(failures) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
