"""A deterministic simulation of workers on Kafka: everything random comes from one seed, time is virtual.

Real: all of app.core, app.codecs and app.processor; app.stream's partitions, task, inbox, producers, restore, start-up
checks, local tables and standbys. In memory: the cluster, confluent_kafka's clients, RocksDB, the disk, the clock, the
event loop, the group. `python -m tests.simulation --seed N --trace` tells a schedule step by step.
"""
