"""Frozen types and pure predicates that every room shares.

Belongs here: data without behaviour beyond its own consistency, and pure functions over it that several
rooms need (matchers, the self-target predicate). Does not belong here: I/O, YAML, clocks, SDKs.
"""
