"""The auditor: it recomputes every decision from the topics alone and says what was not published or kept so."""

from app.replay.findings import Audit, Finding
from app.replay.verify import verify_topics

__all__ = ["Audit", "Finding", "verify_topics"]
