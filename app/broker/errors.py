"""What can go wrong with a broker and is nobody's mistake."""


class BrokerError(Exception):
    """The broker ended by itself or did not become ready in time.

    The message has several lines: what happened, then the end of the broker's log.
    """
