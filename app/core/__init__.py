"""The rules: pure functions over frozen values. No clock, no I/O, no Kafka, no bytes; the standard library only.

Where to find a rule:

============================================  =======================
the locked parameters and what is "tighter"   `policy`
is a signal new, repeated, too old, too early  `admission`
the decision on a signal, in its order         `decision`
notional and quantity                          `sizing`
reservations, open cost, limit, breach         `exposure`
the life of an order: works, ended, finished   `order`
the effect of a fill                           `execution`
win, loss, streak, drawdown, phase upgrade     `track_record`
exact arithmetic and rounding                  `exact`
============================================  =======================
"""
