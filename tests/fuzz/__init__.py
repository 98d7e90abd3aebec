"""Fuzzing: whatever comes in, the answer is a documented one. No input makes the program crash, hang or grow."""
