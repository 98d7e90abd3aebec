"""What a run of the model really reached: counts of decisions, skip reasons, codes, events, ignored kinds, phases."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable

import orjson

from tests.model.generate import generate
from tests.model.reference import simulate

EXPECTED = (
    "applied",
    *(f"decision {name}" for name in ("SIZED", "SKIPPED")),
    *(
        f"skipped {name}"
        for name in ("LOW_CONFIDENCE", "EXPOSURE_LIMIT", "NO_PORTFOLIO_VALUE", "SIGNAL_EXPIRED", "BELOW_MINIMUM_SIZE")
    ),
    *(
        f"signals.dlq {name}"
        for name in ("UNDECODABLE", "UNKNOWN_SCHEMA", "INVALID", "KEY_MISMATCH", "STALE_SIGNAL", "FUTURE_SIGNAL")
    ),
    *(
        f"fills.dlq {name}"
        for name in (
            *("UNDECODABLE", "UNKNOWN_SCHEMA", "INVALID", "KEY_MISMATCH"),
            *("UNKNOWN_ORDER", "CLOSE_EXCEEDS_OPEN", "OUT_OF_RANGE"),
        )
    ),
    *(f"ignored {name}" for name in ("DUPLICATE_SIGNAL", "REPEATED_EXEC_ID", "ORDER_FINISHED")),
    *(
        f"event {name}"
        for name in (
            *("PORTFOLIO_OPENED", "POLICY_CHANGED", "PHASE_UPGRADED", "DRAWDOWN_ENTERED", "DRAWDOWN_EXITED"),
            *("RESERVATION_EXPIRED", "EXPOSURE_BREACHED"),
        )
    ),
    *(f"sized in phase {phase}" for phase in (1, 2, 3)),
)


def coverage(outputs: Iterable[bytes]) -> Counter[str]:
    """Count what occurs in output lines; every name of EXPECTED is there, with 0 if it never occurred."""
    counts: Counter[str] = Counter(dict.fromkeys(EXPECTED, 0))
    for line in outputs:
        record = orjson.loads(line)
        topic = record.get("topic", "")
        if "ignored" in record:
            counts[f"ignored {record['ignored']}"] += 1
        elif "applied" in record:
            counts["applied"] += 1
        elif topic.endswith(".dlq"):
            counts[f"{topic} {record['headers']['__streams.errors.exception']}"] += 1
        elif topic == "phase_events":
            counts[f"event {orjson.loads(record['value'])['type']}"] += 1
        else:
            order = orjson.loads(record["value"])
            counts[f"decision {order['decision']}"] += 1
            if order["skip_reason"] is not None:
                counts[f"skipped {order['skip_reason']}"] += 1
            else:
                counts[f"sized in phase {order['phase']}"] += 1
                counts["sized under drawdown protection"] += order["drawdown_multiplier"] != "1"
    return counts


def main(arguments: list[str]) -> int:
    """Print the counts of generated runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="1-5", help="first-last")
    parser.add_argument("--count", type=int, default=1000, help="lines per seed")
    parser.add_argument("--partitions", type=int)
    options = parser.parse_args(arguments)
    first, _, last = options.seeds.partition("-")
    counts: Counter[str] = Counter()
    for seed in range(int(first), int(last or first) + 1):
        lines = generate(seed, options.count, options.partitions)
        counts.update(coverage(simulate(lines, options.partitions)))
    for name, count in sorted(counts.items()):
        sys.stdout.write(f"{count:8d}  {name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
