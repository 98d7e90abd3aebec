"""Make `kafka.lock` anew: `python -m app.broker.lock`, after another version was put into `WANTED`.

The hashes are those of the files that the Maven repository serves today: look at the diff before committing it.
"""

import tempfile
from pathlib import Path

from app.broker.jars import LOCK_FILE, Jar, maven, sha256_of

# With `!` jgo takes a coordinate for what it is; without, for a list of managed versions, which leads it to an
# old kafka-clients. Without a binding of slf4j the broker is mute; Kafka's slf4j-api 1.7 takes only one of 1.7.
WANTED = ("org.apache.kafka:kafka_2.13:4.2.2!", "org.slf4j:slf4j-simple:1.7.36!")

_HEADER = "# What a Kafka broker needs to run: group:artifact:version sha256. Made by `python -m app.broker.lock`.\n"


def make_lock() -> str:
    """Resolve `WANTED` with all that it needs when run; return the text of the lock, sorted."""
    with tempfile.TemporaryDirectory() as repository:
        context = maven(Path(repository))
        wanted, needed = context.resolver.resolve([context.create_dependency(name) for name in WANTED])
        jars = [
            Jar(found.groupId, found.artifactId, found.version, sha256_of(found.artifact.resolve()))
            for found in [*wanted, *(one for one in needed if one.scope in {"compile", "runtime"})]
        ]
    return _HEADER + "".join(f"{jar.coordinate} {jar.sha256}\n" for jar in sorted(jars))


if __name__ == "__main__":
    LOCK_FILE.write_text(make_lock(), encoding="ascii")
