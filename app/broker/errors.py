"""What can go wrong with a broker or a registry and is nobody's mistake."""


class BrokerError(Exception):
    """The broker, or the Schema Registry, ended by itself or did not become ready in time.

    The message has several lines: what happened, then the end of its log.
    """
