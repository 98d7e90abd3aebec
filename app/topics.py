"""The logical names of the topics; a real name is `Settings.topic_prefix` + the logical one."""

SIGNALS = "signals"
FILLS = "fills"
SIZED_ORDERS = "sized_orders"
PHASE_EVENTS = "phase_events"
SIGNALS_DLQ = "signals.dlq"
FILLS_DLQ = "fills.dlq"

INPUTS = (SIGNALS, FILLS)
OUTPUTS = (SIZED_ORDERS, PHASE_EVENTS, SIGNALS_DLQ, FILLS_DLQ)
