"""Strimzi's resources for topics and users, made from what the worker itself goes by."""
