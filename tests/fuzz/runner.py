"""The long run: a loop that spoils kept inputs, and keeps what reaches something new. The kept corpus goes first."""

import random
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tests.fuzz import corpus, coverage
from tests.fuzz.coverage import FOLDERS, Coverage
from tests.fuzz.mutation import elongate, mutate
from tests.fuzz.targets import TARGETS, Target

TRACER = coverage.__file__
PLACES = (FOLDERS[0], str(Path(__file__).parent))
LARGEST_KEPT = 8_000
LARGEST_SPOILT = 60_000
ONE_IN_LONG = 2_000
TRIALS_WHEN_KEPT = 60
TRIALS_WHEN_FAILED = 600
PROGRESS_SECONDS = 10
PATIENCE_SECONDS = 60
"""For work that is not lines of Python: a net under `Coverage`'s count of steps."""


class Run:
    """One target's run."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self.name = name
        self.inputs = 0
        self.failures: dict[str, Path] = {}
        """What went wrong and where, with the file of the smallest input found."""
        self._target: Target = TARGETS[name]
        self._rng = rng
        self._coverage = Coverage()
        self._seen: set[int] = set()
        self._written: list[Path] = []
        self._pool: list[bytes] = []

    def go(self, seconds: float) -> None:
        """Replay the corpus, then spoil it for so long. Progress is printed."""
        begun = told = time.monotonic()
        for name in corpus.names(self.name):
            self._replay(name)
        while (now := time.monotonic()) < begun + seconds:
            if now >= told + PROGRESS_SECONDS:
                told = now
                print(self, flush=True)
            self.spoil()
        self._thin()
        print(self, flush=True)

    @property
    def kept(self) -> int:
        """How many inputs this run added to the corpus."""
        return len(self._written)

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.inputs:,} inputs, {self.kept} kept, {len(self._pool)} in the corpus, "
            f"{len(self._seen):,} pairs of lines, {len(self.failures)} failures"
        )

    def _replay(self, name: str) -> None:
        data = corpus.read(self.name, name)
        failure, new = self._try(data)
        if failure is not None:
            self._fail(failure, corpus.FOLDER / self.name / name)
        self._seen |= new
        self._pool.append(data)

    def spoil(self) -> None:
        """Spoil one input and try it."""
        rng = self._rng
        # Half of the time from what was found last: there is where the new is.
        recent = self._pool[-10:] if rng.randrange(2) else self._pool
        data = mutate(rng, rng.choice(recent), self._pool)
        if not rng.randrange(ONE_IN_LONG):
            data = elongate(data, rng.randrange(1_000))
        elif len(data) > LARGEST_SPOILT:
            return
        failure, new = self._try(data)
        if failure is not None:
            if failure not in self.failures:
                smallest = self._trim(data, TRIALS_WHEN_FAILED, lambda other: self._try(other)[0] == failure)
                self._fail(failure, corpus.keep(self.name, smallest, "failure-"))
        elif new and len(data) <= LARGEST_KEPT:
            smallest = self._trim(data, TRIALS_WHEN_KEPT, lambda other: self._reaches(other, new))
            self._seen |= new
            self._pool.append(smallest)
            self._written.append(corpus.keep(self.name, smallest))

    def _thin(self) -> None:
        """Delete what this run kept where smaller inputs reach it all, so that the corpus stays small."""
        written, self._written, self._seen = sorted(self._written, key=lambda path: path.stat().st_size), [], set()
        for name in corpus.names(self.name):
            if corpus.FOLDER / self.name / name not in written:
                self._seen |= self._try(corpus.read(self.name, name))[1]
        for path in written:
            _, new = self._try(path.read_bytes())
            if new:
                self._seen |= new
                self._written.append(path)
            else:
                path.unlink()

    def _fail(self, failure: str, path: Path) -> None:
        self.failures[failure] = path
        print(f"{self.name}: FAILURE {failure}\n  input: {path}", flush=True)

    def _reaches(self, data: bytes, wanted: set[int]) -> bool:
        failure, new = self._try(data)
        return failure is None and new >= wanted

    def _try(self, data: bytes) -> tuple[str | None, set[int]]:
        """Run the target: what went wrong, if anything, and what was reached for the first time."""
        self.inputs += 1
        outcome = ""

        def run(given: bytes) -> None:
            nonlocal outcome
            outcome = self._target(given)

        try:
            with _Patience():
                self._coverage.run(run, data)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return _signature(error), set()
        return None, (self._coverage.pairs.union(map(hash, outcome.split()))) - self._seen

    def _trim(self, data: bytes, trials: int, is_good: Callable[[bytes], bool]) -> bytes:
        """Take pieces out, large ones first, for as long as what is left is good."""
        size = len(data) // 2
        while size and trials > 0:
            at = 0
            while at < len(data) and trials > 0:
                trials -= 1
                shorter = data[:at] + data[at + size :]
                if is_good(shorter):
                    data = shorter
                else:
                    at += size
            size //= 2
        return data


class _Patience:
    """Raise TimeoutError in what takes longer than anything should."""

    def __enter__(self) -> None:
        signal.signal(signal.SIGALRM, _lose_patience)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _lose_patience(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {PATIENCE_SECONDS} s")


def _signature(error: BaseException) -> str:
    """Return what went wrong and where in the program or else in the target, so that one mistake is told once."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(PLACES) and frame.filename != TRACER] or frames
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
    # An assertion says what was expected by where it stands; its message may hold the input.
    return f"{type(error).__name__} at {where}"
