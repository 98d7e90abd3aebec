"""Kafka's jars: named and hashed in `kafka.lock`, fetched once into the user's cache."""

from pathlib import Path

from app.broker.artifacts import Bundle, provide

KAFKA = Bundle("Apache Kafka", "kafka", Path(__file__).with_name("kafka.lock"), megabytes=45, room=50)


def kafka_jars(lock_file: Path = KAFKA.lock_file) -> list[Path]:
    """Return the class path of Kafka, sorted; fetch what is not in the user's cache yet.

    Every jar is compared with its hash at each call (some hundredths of a second).

    Raises UserError if a jar cannot be had, is not the locked one, or the cache cannot be written.
    """
    bundle = KAFKA._replace(lock_file=lock_file)
    jars = bundle.artifacts
    folder = provide(bundle, lambda folder: all(jar.is_in(folder) for jar in jars))
    return sorted(folder / jar.path for jar in jars)
