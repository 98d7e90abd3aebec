"""The command line: each command is a thin door to one package, imported only when it is called."""

import os
import re
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.analysts import add_commands
from app.errors import UserError

USER_ERROR = 2

Role = Literal["worker", "signal-producer", "execution-service", "analyst", "admin"]
"""As in app.stream.acls, which is imported only when it is called."""

app_help = """Sizes trade signals into orders, exactly once, on Kafka.

Try `sizer demo` for a live demo on a real Kafka, or `sizer simulate` for the rules alone."""

commands = typer.Typer(help=app_help, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
topics_commands = typer.Typer(help="Make or check the topics.", no_args_is_help=True)
commands.add_typer(topics_commands, name="topics")
schemas_commands = typer.Typer(help="Register or check the Avro schemas.", no_args_is_help=True)
commands.add_typer(schemas_commands, name="schemas")


@commands.command()
def worker() -> None:
    """Run one worker in the foreground.

    SIGTERM ends it cleanly (status 0). In any doubt about state or ownership it stops with status 70: restart it.

    Example:  SIZER_BOOTSTRAP_SERVERS=localhost:9092 SIZER_DATA_DIR=/var/lib/sizer sizer worker
    """
    # Until the worker has handlers of its own there is nothing to finish.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    from app.codecs.policy_file import load_policy
    from app.settings import load_settings
    from app.stream.worker import run_worker

    settings = load_settings()
    raise SystemExit(run_worker(settings, load_policy(settings.policy_file)))


@commands.command()
def broker(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1 (9092).")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder that keeps the broker's data.")] = None,
) -> None:
    """Run the packaged single-node Kafka in the foreground.

    Prints one line with its bootstrap address when it is ready. Ctrl-C or SIGTERM ends it; its data stay.

    Example:  sizer broker --port 9092 --data-dir ./kafka
    """
    from app.broker import run_broker

    raise SystemExit(run_broker(port, data_dir))


@commands.command()
def registry(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port on 127.0.0.1 (8081).")] = None,
) -> None:
    """Run the packaged Schema Registry in the foreground, to try Avro with. The first time it is fetched (159 MB).

    Prints one line with its URL when it is ready. Ctrl-C or SIGTERM ends it, and its schemas are gone: they are in
    memory only. It is not for production.

    For example, here and then in another terminal:

      sizer registry --port 8081

      export SIZER_SCHEMA_REGISTRY_URL=http://127.0.0.1:8081/apis/ccompat/v7

      SIZER_OUTPUT_FORMAT=avro sizer worker
    """
    from app.broker import run_registry

    raise SystemExit(run_registry(port))


@topics_commands.command("create")
def topics_create(
    partitions: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Partitions of each topic, for ever: the most workers there can be. [4]"),
    ] = None,
) -> None:
    """Make every topic that is missing, with the right settings. Creating twice is no error.

    Example:  sizer topics create --partitions 8
    """
    from app.settings import load_settings
    from app.stream.topics import create_topics

    created = create_topics(load_settings(), partitions)
    for name in created:
        print(f"created {name}")
    if not created:
        print("all topics exist already")


@topics_commands.command("check")
def topics_check() -> None:
    """Check that every topic is there with the right settings; each problem is told with its cure (status 2).

    Example:  sizer topics check
    """
    from app.settings import load_settings
    from app.stream.topics import check_topics

    check_topics(load_settings())
    print("all topics are as they should be")


@commands.command()
def acls(
    role: Annotated[Role, typer.Argument(help="Whose: what this part of a deployment needs.")],
    principal: Annotated[str, typer.Option(help="Who is to be allowed it, for example User:sizer.")],
    group: Annotated[
        str | None, typer.Option(help="Consumer group of the execution service. [execution-service]")
    ] = None,
) -> None:
    """Print the smallest set of ACLs for a role, as commands of Kafka's own `kafka-acls.sh`. Nothing is connected.

    ADMIN_CONFIG names the properties file of whoever may alter ACLs.

    Example:  sizer acls worker --principal User:sizer | ADMIN_CONFIG=admin.properties sh -e
    """
    from app.settings import load_settings
    from app.stream import acls

    if not re.fullmatch(r"[A-Za-z]+:.+", principal):
        raise UserError(f"--principal {principal}: expected a type and a name, as in User:sizer")
    for line in acls.acl_commands(load_settings(), acls.Role(role), principal, group):
        print(line)


@schemas_commands.command("register")
def schemas_register() -> None:
    """Register the Avro schemas of the topics in the Schema Registry, compatibility BACKWARD.

    Signal, Fill, SizedOrder and PhaseEvent, each under its topic's name and -value. Doing it again is no error: do it
    before a new release of the workers starts. A worker with SIZER_OUTPUT_FORMAT=avro wants them registered.

    Example:  SIZER_SCHEMA_REGISTRY_URL=http://localhost:8081 sizer schemas register
    """
    from app.settings import load_settings
    from app.stream.formats import register_schemas

    for found in register_schemas(load_settings()):
        print(f"registered {found.subject}: {found.record}, id {found.schema_id}, {found.compatibility}")


@schemas_commands.command("check")
def schemas_check() -> None:
    """Check that this release's schemas are registered; each problem is told with its cure (status 2).

    Example:  SIZER_SCHEMA_REGISTRY_URL=http://localhost:8081 sizer schemas check
    """
    from app.settings import load_settings
    from app.stream.formats import check_schemas

    for found in check_schemas(load_settings()):
        print(f"{found.subject}: {found.record}, id {found.schema_id}, {found.compatibility}")


@commands.command()
def simulate(
    file: Annotated[
        Path | None, typer.Argument(metavar="INPUT", help="JSON lines; standard input if left out.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="A policy file (TOML), tighter than the locked table.")] = None,
    partitions: Annotated[int | None, typer.Option(min=1, help="Check keys against so many partitions.")] = None,
) -> None:
    """Answer JSON lines with JSON lines, by the worker's own code, without Kafka.

    For example:

      echo '{"topic":"signals","key":"PF-1","value":{"signal_id":"S-1","portfolio_id":"PF-1","symbol":"ESZ6",
      "side":"BUY","confidence":0.9,"price":"5000","portfolio_value":"100000",
      "generated_at":"2026-01-31T12:00:00Z"}}' | sizer simulate
    """
    from app.codecs.policy_file import load_policy
    from app.processor.simulation import LineError, Simulation

    simulation = Simulation(load_policy(policy), partitions)
    try:
        source = sys.stdin.buffer if file is None else file.open("rb")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    with source:
        try:
            for answer in simulation.run(source):
                sys.stdout.buffer.write(answer)
                sys.stdout.buffer.flush()  # whoever feeds us line by line through a pipe waits for the answer
        except LineError as error:
            raise UserError(str(error)) from None


@commands.command()
def verify(
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what comes in, until Ctrl-C or SIGTERM.")
    ] = False,
    grace: Annotated[
        float, typer.Option(min=0, help="With --follow: seconds that an input may wait for its outcome.")
    ] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="The verdict as one JSON document.")] = False,
) -> None:
    """Audit the topics: recompute every decision by the log alone and compare it with what was published and kept.

    Reads only, shares nothing with the workers, and may run beside them. Status 0: all is proved; 1: it is not, each
    finding names its record; 2: the topics cannot be read.

    For example, all that there is, what is wrong as JSON, and on and on beside the workers:

      sizer verify

      sizer verify --json | jq '.findings[].text'

      sizer verify --follow --grace 30
    """
    from app.replay.command import run_follow, run_verify
    from app.settings import load_settings

    settings = load_settings()
    try:
        status = run_follow(settings, grace, as_json=as_json) if follow else run_verify(settings, as_json=as_json)
    except BrokenPipeError:
        _forget_output()
        status = 1  # nothing is proved to who has gone
    raise SystemExit(status)


@commands.command()
def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave all running afterwards, to play with.")] = False,
) -> None:
    """Show it all live on a real Kafka: two workers, a signal generator, a venue; one worker is killed halfway.

    Example:  sizer demo --keep
    """
    from app.demo import run_demo

    raise SystemExit(run_demo(keep=keep))


add_commands(commands)


def main() -> None:
    """Run the command line. A mistake of the user's is one line and status 2, never a traceback."""
    try:
        commands()
    except UserError as error:
        print(f"sizer: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except BrokenPipeError:
        _forget_output()
        sys.exit(0)


def _forget_output() -> None:
    """Write nothing more: the reader of our output went away (`sizer simulate | head`), nobody is left to be told."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
