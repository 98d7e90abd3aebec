"""What analysts do with the topics' history: recompute every decision and compare it with what was published."""

from app.replay.recompute import Report, recompute_topics

__all__ = ["Report", "recompute_topics"]
