"""Reading a Dockerfile, as far as ours goes."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Stage(NamedTuple):
    """What one stage of a Dockerfile says."""

    steps: list[tuple[str, str]]
    """Its instructions in order: the word in capitals, and the rest as one line."""

    def environment(self) -> dict[str, str]:
        """Return what its ENV instructions set."""
        pairs = (pair.partition("=") for text in self._all("ENV") for pair in shlex.split(text))
        return {name: value for name, _, value in pairs}

    def command(self, word: str) -> list[str]:
        """Return the last CMD, ENTRYPOINT or HEALTHCHECK, which must be in exec form."""
        text = self._all(word)[-1]
        found: list[str] = json.loads(text[text.index("[") :])
        return found

    def value(self, word: str) -> str:
        """Return the text of the last instruction of this word."""
        return self._all(word)[-1]

    def _all(self, word: str) -> list[str]:
        return [text for name, text in self.steps if name == word]


def read_stages(path: Path) -> list[Stage]:
    """Return the stages of a Dockerfile in order."""
    stages: list[Stage] = []
    for word, text in _instructions(path.read_text()):
        if word == "FROM":
            stages.append(Stage([]))
        elif stages:
            stages[-1].steps.append((word, text))
    return stages


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield word, rest.strip()
