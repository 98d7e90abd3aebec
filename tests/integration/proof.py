"""The proof that what workers have published is right, whatever was done to them (rules: guarantees 1 to 4)."""

from app.replay import verify_topics
from app.settings import Settings


def prove(settings: Settings) -> int:
    """Assert that all that was published and kept is what the inputs make; return the number of answers."""
    audit = verify_topics(settings)
    assert audit.is_proved, "\n".join(finding.text for finding in audit.findings) or audit
    return audit.orders
