"""A live demo on a real Kafka, with real prices."""

from app.demo.run import run_demo

__all__ = ["run_demo"]
