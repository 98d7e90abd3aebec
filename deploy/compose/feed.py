"""Signals for the compose file, for ever: one a second, for one of five portfolios, by the example's own command line.

python feed.py BOOTSTRAP_SERVERS SIGNAL_PRODUCER
"""

import random
import signal
import subprocess
import sys
import threading

PORTFOLIOS = 5
PAUSE_SECONDS = 1.0


def main() -> int:
    """Send until SIGTERM. A signal that does not arrive is told by the producer, and the next one is sent."""
    servers, producer = sys.argv[1:]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    price = 5000.0
    while not stop.wait(PAUSE_SECONDS):
        price = max(100.0, price + random.gauss(0, 2))
        arguments = {
            "bootstrap-servers": servers,
            "portfolio": f"PF-{random.randint(1, PORTFOLIOS)}",  # noqa: S311 - likewise
            "portfolio-value": "100000",
            "side": random.choice(("BUY", "SELL")),  # noqa: S311 - likewise
            "confidence": f"{random.uniform(0.5, 1):.2f}",  # noqa: S311 - likewise
            "price": f"{price:.2f}",
        }
        command = [sys.executable, producer, *(f"--{name}={value}" for name, value in arguments.items())]
        subprocess.run(command, check=False)  # noqa: S603 - our own
    return 0


if __name__ == "__main__":
    sys.exit(main())
