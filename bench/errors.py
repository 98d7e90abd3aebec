"""How a benchmark's program ends: a mistake or a failure is told in one line, without a traceback."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from app.broker.errors import BrokerError
from app.demo.children import ChildDied
from app.errors import UserError
from bench.contestants import ContestantError


@contextmanager
def told(name: str) -> Iterator[None]:
    """Tell what ends the block and exit: with status 2 for a mistake of the user's, 1 for a run that failed."""
    try:
        yield
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
    except (ContestantError, ChildDied, BrokerError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
