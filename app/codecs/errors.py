"""What a codec says of a record that it cannot take, or cannot take yet."""

from app.core.messages import ErrorCode


class BadRecord(Exception):  # noqa: N818 - it is the record that is bad; the program is well
    """A record for the dead letter queue. The message says what to do."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class SchemaPending(Exception):  # noqa: N818 - nothing is wrong: the registry has not been asked
    """A record names a schema of the registry that has to be fetched first; then the record is to be read again."""

    def __init__(self, schema_id: int) -> None:
        super().__init__(schema_id)
        self.schema_id = schema_id


def invalid(message: str) -> BadRecord:
    """Return the error for a record that can be read but breaks the contract of its fields."""
    return BadRecord(ErrorCode.INVALID, message)
