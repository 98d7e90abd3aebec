"""The worker: Faust for membership, assignment and tables; readers, and one task per partition, for the events.

A task owns one partition: its rows, its next input positions and its transactional producers. What one batch of
records causes becomes visible by one transaction or not at all; see docs/decisions for why Faust's own path does not.
"""
