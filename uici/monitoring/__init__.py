"""The monitoring that UICI asks and, where a strategy says so, tells something: Prometheus and Alertmanager over HTTP.

Belongs here: their clients, and the built-in calls made of them. Does not belong here: judging what an answer means
for a remedy (`uici.verification`), and deciding whether a call may be sent (`uici.guard`).
"""
