"""A guard against growing slower: the worker's processor time an event, as a multiple of the plain loop's.

Worker and plain loop take turns on equal backlogs, and the median of the rounds' ratios is compared with the recorded
one. A ratio within one run is about the same on a slow machine, a busy one and a fast one; a time is not, so none is
compared. `--record` writes what was measured down as the new one.

    python -m bench.guard
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

import orjson

from app.broker import Broker
from app.errors import UserError
from bench import throughput
from bench.contestants import PLAIN_LOOP, WORKER
from bench.errors import told
from bench.results import FILE, Results
from bench.workload import PARTITIONS, PORTFOLIOS, Workload

RECORDED = Path(__file__).with_name("recorded.json")
TOLERANCE = 0.2
"""How much worse than recorded is taken for noise."""
_NAME = "cpu_vs_plain"
_ROUNDS = 5
_EVENTS = 20_000
_SEED = 1


def judge(measured: float, recorded: float) -> tuple[bool, str]:
    """Tell whether a measured ratio may pass, and in one line why."""
    change = measured / recorded - 1
    is_good = change <= TOLERANCE
    return is_good, (
        f"{'ok' if is_good else 'SLOWER'}: {_NAME}={measured:.2f}, recorded {recorded:.2f}: {change:+.0%},"
        f" allowed {TOLERANCE:+.0%}"
    )


def read_recorded(file: Path) -> float:
    """Return the recorded ratio; raises UserError."""
    cure = "`python -m bench.guard --record` writes it"
    try:
        ratio = orjson.loads(file.read_bytes())[_NAME]
    except FileNotFoundError:
        raise UserError(f"there is no {file.name}: {cure}") from None
    except (orjson.JSONDecodeError, LookupError, TypeError):
        raise UserError(f"{file.name} is no JSON object with {_NAME}: {cure}") from None
    if not isinstance(ratio, float | int) or ratio <= 0:
        raise UserError(f"{file.name}: {_NAME} is {ratio!r}, expected a number above 0: {cure}")
    return float(ratio)


def measure() -> float:
    """Return the median of the rounds' ratios. Raises ContestantError."""
    results = Results.begin(FILE.with_name("bench-guard.jsonl"), _SEED)
    with (
        tempfile.TemporaryDirectory(prefix="sizer-bench-") as folder,
        Broker(Path(folder, "kafka"), full_speed=True) as broker,
    ):
        for number in range(_ROUNDS):
            contestants = (WORKER, PLAIN_LOOP)[:: -1 if number % 2 else 1]
            workload = Workload(_SEED + number, PARTITIONS, time.time_ns() // 1000)
            work = throughput.backlog(workload, _EVENTS)
            for place, contestant in enumerate(contestants):
                run = throughput.measure(contestant, broker, Path(folder), 2 * number + place, work)
                results.add_throughput(number, PORTFOLIOS, run)
                print(f"round {number + 1}: {run.contestant} {run.cpu_us:.0f} µs of CPU an event", flush=True)
    return results.cpu_ratio(WORKER.name, PLAIN_LOOP.name, PORTFOLIOS)


def main() -> None:
    """Measure, and compare or record."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write down what is measured")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    recorded = None if arguments.record else read_recorded(RECORDED)
    measured = measure()
    if recorded is None:
        RECORDED.write_bytes(orjson.dumps({_NAME: round(measured, 2)}) + b"\n")
        print(f"recorded {_NAME}={measured:.2f} in {RECORDED.name}")
        return
    is_good, line = judge(measured, recorded)
    print(line)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    with told("bench.guard"):
        main()
