"""The signal generator as a process: `python -m app.demo.generator`, with the sizer's settings. Ends by itself."""

import sys

from app.codecs.records import SIGNAL
from app.demo.accounts import ACCOUNTS
from app.demo.desk import Desk
from app.demo.market import SECOND, read_prices
from app.demo.neighbour import Sender, await_opening, stop_request, wall_now
from app.demo.wire import encoder, registry_client
from app.settings import load_settings
from app.topics import SIGNALS


def main() -> int:
    """Send every signal at its time, until the window is over or SIGTERM."""
    stop = stop_request()
    prices = read_prices()
    settings = load_settings()
    sender = Sender(settings, SIGNALS)
    encode = encoder(registry_client(settings), settings.topic(SIGNALS), SIGNAL)
    clock = await_opening()
    desk = Desk(ACCOUNTS, prices, clock, encode)
    while (time := desk.next_time) is not None:
        # A microsecond more than the division gave: at the earliest moment at which the record is due.
        if stop.wait(max(0, clock.wall(time) + 1 - wall_now()) / SECOND):
            break
        sender.send(desk.due(clock.market(wall_now())))
    sender.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
