"""What stands beside the platforms and is asked over HTTP: Prometheus, Alertmanager, and what splits traffic.

Belongs here: their clients, and the built-in calls made of them. Does not belong here: judging what an answer means
for a remedy (`uici.verification`), and deciding whether a call may be sent (`uici.guard`).
"""
