"""Make the locks anew: `python -m app.broker.lock`, after another version was put into `KAFKA_PARTS` or `ARCHIVE`.

The hashes are those of the files that the Maven repository serves today: look at the diff before committing it.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from app.broker.artifacts import Artifact, maven, sha256_of
from app.broker.jars import KAFKA
from app.broker.registry_files import REGISTRY

# With `!` jgo takes a coordinate for what it is; without, for a list of managed versions, which leads it to an
# old kafka-clients. Without a binding of slf4j the broker is mute; Kafka's slf4j-api 1.7 takes only one of 1.7.
KAFKA_PARTS = ("org.apache.kafka:kafka_2.13:4.2.2!", "org.slf4j:slf4j-simple:1.7.36!")
ARCHIVE = ("io.apicurio", "apicurio-registry-app", "3.3.3", "all", "tar.gz")

_HEADER = "# What a Kafka broker needs to run: group:artifact:version sha256. Made by `python -m app.broker.lock`.\n"
_REGISTRY_HEADER = (
    "# The Schema Registry: group:artifact:version:classifier:extension sha256. Made by `python -m app.broker.lock`.\n"
)


def kafka_lock() -> str:
    """Resolve `KAFKA_PARTS` with all that they need when run; return the text of the lock, sorted."""
    with tempfile.TemporaryDirectory() as repository:
        context = maven(Path(repository))
        wanted, needed = context.resolver.resolve([context.create_dependency(name) for name in KAFKA_PARTS])
        jars = [
            Artifact(found.groupId, found.artifactId, found.version, sha256_of(found.artifact.resolve()))
            for found in [*wanted, *(one for one in needed if one.scope in {"compile", "runtime"})]
        ]
    return _HEADER + _lines(jars)


def registry_lock() -> str:
    """Fetch `ARCHIVE`, which has in it all that it needs; return the text of the lock."""
    group, artifact, version, classifier, extension = ARCHIVE
    with tempfile.TemporaryDirectory() as repository:
        project = maven(Path(repository)).project(group, artifact)
        path = project.at_version(version).artifact(classifier, extension).resolve()
        return _REGISTRY_HEADER + _lines([Artifact(group, artifact, version, sha256_of(path), classifier, extension)])


def _lines(artifacts: Iterable[Artifact]) -> str:
    return "".join(f"{artifact.coordinate} {artifact.sha256}\n" for artifact in sorted(artifacts))


if __name__ == "__main__":
    KAFKA.lock_file.write_text(kafka_lock(), encoding="ascii")
    REGISTRY.lock_file.write_text(registry_lock(), encoding="ascii")
