"""The commands of the Dockerfile's build stage, carried out without a container engine.

As a program it does only that, and prints where: `make sbom` lists what is there.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy.checks.dockerfile import Stage, read_stages
from deploy.checks.tools import DEPLOY, PYTHON, ROOT, TOOLS, clean_environment, require

_PREFIX = "/opt/sizer"
"""Where the image has it; here it is somewhere else."""
_PLACE = TOOLS.parent / "image"


def _check_context(copied: str) -> None:
    """Check that .dockerignore lets through what a COPY wants."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lacking = set(copied.split()[:-1]) - allowed
    require(not lacking, f".dockerignore keeps out what the Dockerfile copies: {', '.join(sorted(lacking))}")


def install(build: Stage) -> Path:
    """Carry out the build stage, and return where what the image has in /opt/sizer is then.

    The layer of the locked requirements is kept for the next time, as Docker would. Raises CheckError.
    """
    for copied in (text for word, text in build.steps if word == "COPY"):
        _check_context(copied)
    prefix, layer, key = _PLACE / "sizer", _PLACE / "layer", _PLACE / "key"
    locked, ours = (text for word, text in build.steps if word == "RUN")
    lock = (ROOT / "requirements" / "run.txt").read_bytes()
    wanted = hashlib.sha256(lock + locked.encode() + str(PYTHON.resolve()).encode()).hexdigest()
    shutil.rmtree(prefix, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        for word, text in build.steps:
            if word == "COPY":
                _copy(text, context)
        if not key.exists() or key.read_text() != wanted:
            shutil.rmtree(_PLACE, ignore_errors=True)
            _run(locked, build, context)
            shutil.copytree(prefix, layer, symlinks=True)
            key.write_text(wanted)
        else:
            shutil.copytree(layer, prefix, symlinks=True, copy_function=os.link)
        _run(ours, build, context)
    return prefix


def _copy(text: str, context: Path) -> None:
    *sources, target = text.split()
    for source in sources:
        to = context / (Path(source).name if target == "./" else target)
        to.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, to)


def _run(text: str, build: Stage, context: Path) -> None:
    """Carry out a RUN; its `python` is one that has pip."""
    commands = context / "bin"
    commands.mkdir(exist_ok=True)
    wrapper = commands / "python"
    wrapper.write_text(f'#!/bin/sh\nexec {TOOLS / "python"} "$@"\n')
    wrapper.chmod(0o755)
    environment = {**clean_environment(), **build.environment()}
    environment["PATH"] = f"{commands}:{environment['PATH']}"
    environment.pop("PIP_NO_CACHE_DIR", None)
    result = subprocess.run(  # noqa: S603 - the Dockerfile's own command
        ["/bin/sh", "-euc", f"umask 022; {text.replace(_PREFIX, str(_PLACE / 'sizer'))}"],
        cwd=context,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    require(result.returncode == 0, f"RUN {text}\n{result.stdout.strip()}")


if __name__ == "__main__":
    print(install(read_stages(DEPLOY / "Dockerfile")[0]))
