"""From observed state to a verdict: health decides, the alert's silence confirms.

Belongs here: judging, and asking Prometheus whether an alert still fires. Does not belong here: waiting, and undo.
"""
