"""What the Dockerfile says, done without a container engine: its own commands install, and what they installed runs.

As root it runs as the image's user with no rights, on a root file system that cannot be written.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.checks.compose import load
from deploy.checks.container import Container
from deploy.checks.dockerfile import Stage, read_stages
from deploy.checks.tools import DEPLOY, PYTHON, ROOT, TOOLS, attempt, clean_environment, require

_PREFIX = "/opt/sizer"
"""Where the image has it; here it is somewhere else."""
_PLACE = TOOLS.parent / "image"
_CONTAINERS_OWN = {
    *("process.roles", "node.id", "controller.quorum.voters", "controller.listener.names", "log.dirs", "heap.opts"),
    *("listeners", "advertised.listeners", "listener.security.protocol.map", "inter.broker.listener.name"),
}
"""Of the settings of compose's Kafka: those that hang on hosts and folders."""


def check_image() -> Iterator[str]:
    """Install as the image does, run what is in it, and a worker on a real broker."""
    build, final = read_stages(DEPLOY / "Dockerfile")
    for copied in (text for word, text in build.steps if word == "COPY"):
        _check_context(copied)
    prefix = _install(build)
    _check_installed(prefix)
    yield "the Dockerfile's commands install the lock, by hash and from wheels, and the package with all its files"
    with tempfile.TemporaryDirectory() as folder:
        container = Container(prefix, final, Path(folder))
        container.prove()
        yield f"run {container.how}, with the image's environment:"
        yield from _check_commands(container)
        yield from _check_worker(container, Path(folder))


def _check_context(copied: str) -> None:
    """Check that .dockerignore lets through what a COPY wants."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lacking = set(copied.split()[:-1]) - allowed
    require(not lacking, f".dockerignore keeps out what the Dockerfile copies: {', '.join(sorted(lacking))}")


def _install(build: Stage) -> Path:
    """Carry out the build stage; the layer of the locked requirements is kept for the next time, as Docker would."""
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


def _check_installed(prefix: Path) -> None:
    """Check that no package lacks another one, and that our own files are all there."""
    found = attempt(TOOLS / "python", "-m", "pip", "--python", prefix / "bin" / "python", "check").stdout
    lacking = [line for line in found.splitlines() if "which is not installed" in line]
    others = [line for line in lacking if not line.startswith("position-sizer ")]
    require(not others, f"the image lacks what it needs: {'; '.join(others)}")
    (installed,) = prefix.glob("lib/python3.*/site-packages/app")
    for path in (ROOT / "app").rglob("*"):
        name = path.relative_to(ROOT / "app")
        if path.is_file() and "__pycache__" not in name.parts:
            require(
                (installed / name).is_file(), f"app/{name} is not in the package: see package-data in pyproject.toml"
            )


def _check_commands(container: Container) -> Iterator[str]:
    shown = container.run("--help")
    require("worker" in shown.stdout, f"sizer --help:\n{shown.stdout}")
    golden = ROOT / "tests" / "golden"
    answers = container.run("simulate", stdin=golden / "a_day.input.jsonl")
    expected = (golden / "a_day.expected.jsonl").read_text()
    require(answers.stdout == expected, f"sizer simulate does not answer as it should:\n{answers.stdout[:2000]}")
    yield "sizer --help; sizer simulate answers a day byte for byte"
    refused = container.run("broker", status=2)
    require("not in this installation" in refused.stdout, f"sizer broker:\n{refused.stdout}")
    yield "sizer broker, which needs what the image leaves out, says so"


def _check_worker(container: Container, folder: Path) -> Iterator[str]:
    kafka = load()["kafka"]["environment"]
    named = {name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in kafka.items()}
    properties = {name: str(value) for name, value in named.items() if name not in _CONTAINERS_OWN}
    with subprocess.Popen(  # noqa: S603 - our own
        [PYTHON, DEPLOY / "checks" / "broker.py", folder / "kafka", json.dumps(properties)],
        cwd=ROOT,
        env={**clean_environment(), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as broker:
        assert broker.stdin is not None
        assert broker.stdout is not None
        try:
            servers = broker.stdout.readline().strip()
            require(servers, "Kafka does not start with the settings of the compose file")
            yield f"a real Kafka, with {len(properties)} settings of the compose file"
            container.run("topics", "create", servers=servers)
            container.run("topics", "check", servers=servers)
            yield "sizer topics create, sizer topics check"
            with container.run_worker(servers) as worker:
                worker.wait_for("healthy and ready", container.is_healthy_and_ready)
                yield "a worker: the image's health check and /readyz"
                _trade(container, servers)
                yield "its neighbours in the compose file: a signal was sized, sent and filled"
            yield "each ends by SIGTERM with status 0 in time"
            container.run("verify", servers=servers)
            yield "sizer verify finds all that was answered proved"
        finally:
            broker.stdin.close()


def _trade(container: Container, servers: str) -> None:
    """Run the compose file's execution service and feed until an order was filled."""
    services = load()

    def command(name: str) -> list[str]:
        service = services[name]
        moves = {"/examples": ROOT / "examples", "/compose": DEPLOY / "compose", "kafka:19092": servers}
        parts: list[str] = [*service["entrypoint"], *service["command"]]
        for there, here in moves.items():
            parts = [part.replace(there, str(here)) for part in parts]
        return parts

    with (
        container.running("execution", command("execution"), servers) as execution,
        container.running("signals", command("signals"), servers),
    ):
        execution.wait_for("a fill", lambda: "TRADE" in execution.log.read_text())
