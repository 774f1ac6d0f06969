"""Fuzzing for minutes instead of moments: `make fuzz`."""
