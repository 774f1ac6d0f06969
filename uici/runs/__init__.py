"""The durable workflow: small named stages in one visible list, slots, approvals, recovery.

Belongs here: order, retry, resume, who may act when. Does not belong here: what should be done (`planning`),
whether it may be done (`guard`), how a step becomes calls (`translation`), whether it worked (`verification`).
"""
