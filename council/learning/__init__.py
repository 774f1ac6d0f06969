"""What outcomes teach: how probably an answer is right.

Belongs here: recorded outcomes, calibration, predictions from a question alone. Does not belong here: what follows from
a probability (`council.routing`).
"""
