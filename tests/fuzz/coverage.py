"""What an input reached, and how much work it was: lines of the program, told by the interpreter, no wall clock."""

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import app

FOLDERS = (str(Path(app.__file__).parent), str(Path(tomllib.__file__).parent))
"""The program, and the one parser of ours that is written in Python."""
STEPS = 200_000
STEPS_PER_BYTE = 100


class Hang(Exception):  # noqa: N818 - what it is, not an error of ours
    """An input takes more steps than its size explains."""


class Coverage:
    """The pairs of lines that were executed one after another, and the count of lines."""

    def __init__(self) -> None:
        self.pairs: set[int] = set()
        self.steps = 0
        self._limit = STEPS
        self._previous = 0
        self._is_ours: dict[str, bool] = {}

    def run(self, function: Callable[[bytes], Any], data: bytes) -> None:
        """Call the function; raises what it raises, and Hang."""
        self.pairs = set()
        self.steps = self._previous = 0
        self._limit = STEPS + STEPS_PER_BYTE * len(data)
        former = sys.gettrace()
        sys.settrace(self._enter)
        try:
            function(data)
        finally:
            sys.settrace(former)

    def _enter(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        ours = self._is_ours.get(name)
        if ours is None:
            ours = self._is_ours[name] = name.startswith(FOLDERS)
        return self._line if ours else None

    def _line(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        if event == "line":
            here = id(frame.f_code) ^ frame.f_lineno << 4
            self.pairs.add(hash((self._previous, here)))
            self._previous = here
            self.steps += 1
            if self.steps > self._limit:
                raise Hang(f"{self.steps} steps")
        return self._line
