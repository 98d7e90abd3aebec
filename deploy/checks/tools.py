"""Running the tools, and what all checks have in common."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "position-sizer"
TOOLS = Path(sys.prefix) / "bin"
PYTHON = ROOT / ".venv" / "bin" / "python"
"""The project's own, with its locked requirements."""

Check = Callable[[], Iterator[str]]
"""Yields a line for each thing that was found in order; raises CheckError for the first that is not."""

_FACTS = """
import json
from app.settings import Settings
from deploy.strimzi.resources import topics_document, users_document

kinds = {f"SIZER_{name.upper()}": "SecretStr" in str(field.annotation) for name, field in Settings.model_fields.items()}
settings = Settings(_env_file=None)
documents = {"topics.yaml": topics_document(settings), "users.yaml": users_document(settings)}
print(json.dumps({"settings": kinds, "strimzi": documents}))
"""


class CheckError(Exception):
    """Something is not as it must be; its text says what and where."""


def require(condition: object, problem: str) -> None:
    """Raise CheckError with the problem unless the condition holds."""
    if not condition:
        raise CheckError(problem)


def run(*command: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a command in the project's folder and return what it printed; if it fails, raise CheckError with that."""
    result = attempt(*command, environment=environment)
    if result.returncode != 0:
        raise CheckError(f"{Path(command[0]).name} ended with status {result.returncode}:\n{result.stdout.strip()}")
    return result.stdout


def attempt(
    *command: str | Path, environment: Mapping[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a command in the project's folder; all that it prints is in `stdout`."""
    return subprocess.run(  # noqa: S603 - our own commands
        [str(part) for part in command],
        cwd=ROOT,
        env=clean_environment() if environment is None else dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )


def clean_environment() -> dict[str, str]:
    """Return our environment without settings of the sizer: what is checked must not hang on them."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SIZER_")}


@cache
def facts() -> dict[str, Any]:
    """Return what the code says: `settings`, by name whether secret, and `strimzi`, by file its right content."""
    found: dict[str, Any] = json.loads(run(PYTHON, "-c", _FACTS))
    return found
