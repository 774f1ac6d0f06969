"""From observations to findings: named facts with their evidence.

Belongs here: reading results that others obtained. Does not belong here: making calls, and choosing remedies.
"""
