"""`make bench`: the worker beside its peers, on one real broker, with the same rules and events, in one run.

`--quick` takes some minutes, one worker, and ends with one line for scripts.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from app.broker import Broker
from bench import processor
from bench.contestants import PLAIN_FAUST, PLAIN_LOOP, QUIX, WORKER, check_installed
from bench.errors import told
from bench.plan import FULL, QUICK, Bench, Plan
from bench.results import FILE, Figure, Results
from bench.tables import all_tables
from bench.workload import PORTFOLIOS

_QUICK_FILE = FILE.with_name("bench-quick.jsonl")


def main() -> None:
    """Run everything; the end are tables, or one line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="in some minutes; the end is one line")
    parser.add_argument("--events", type=_positive, help="of each run of throughput")
    parser.add_argument("--rounds", type=_positive, help="of each measurement")
    parser.add_argument("--seconds", type=_positive, help="of each run of latency")
    parser.add_argument(
        "--ids", type=_positive, help="that the worker is to remember; 10,000,000 need some 10 GB of disk"
    )
    parser.add_argument(
        "--json", type=Path, help=f"where each run's line goes; else {FILE}, with --quick {_QUICK_FILE}"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    check_installed()
    print(f"seed {arguments.seed}; only what was measured in one run can be compared", flush=True)
    if not arguments.quick:
        costs = processor.measure(arguments.seed)
        print("\n".join(["the processor alone, in memory:", *processor.lines(costs)]), flush=True)
    results = Results.begin(arguments.json or (_QUICK_FILE if arguments.quick else FILE), arguments.seed)
    with (
        tempfile.TemporaryDirectory(prefix="sizer-bench-") as folder,
        Broker(Path(folder, "kafka"), full_speed=True) as broker,
    ):
        Bench(broker, Path(folder), arguments.seed, results).run(_plan(arguments))
    if not arguments.quick:
        print(f"\n{all_tables(results)}\n\n`python -m bench.publish` puts this into docs\n")
    print(_line(results))


def _positive(text: str) -> int:
    """Return a whole number above 0; argparse tells what else it was given."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, not {text!r}")
    return int(text)


def _plan(arguments: argparse.Namespace) -> Plan:
    plan = QUICK if arguments.quick else FULL
    rounds, seconds = arguments.rounds, arguments.seconds
    return plan._replace(
        events=arguments.events or plan.events,
        fields=[field._replace(rounds=rounds or field.rounds) for field in plan.fields],
        loads=[load._replace(rounds=rounds or load.rounds, seconds=seconds or load.seconds) for load in plan.loads],
        ids=arguments.ids or plan.ids,
    )


def _line(results: Results) -> str:
    """Return the figures of one worker for scripts: ratios of processor time (below 1: it takes less), and its own."""
    ours = WORKER.name
    ratios = {"plain": PLAIN_LOOP, "quix": QUIX, "faust": PLAIN_FAUST}

    def figure(name: str, measure: str, **wanted: int) -> str:
        found = results.figure(name, measure, contestant=ours, **wanted)
        assert isinstance(found, Figure), f"{measure} was measured"
        return f"{name}={found.median:.1f}"

    return " ".join(
        [
            *(f"cpu_vs_{name}={results.cpu_ratio(ours, peer.name, PORTFOLIOS):.2f}" for name, peer in ratios.items()),
            figure("cpu_us", "throughput", portfolios=PORTFOLIOS),
            figure("p50_ms", "latency", rate=100),
            figure("p99_ms", "latency", rate=100),
        ]
    )


if __name__ == "__main__":
    with told("bench"):
        main()
