"""What is remembered of conversations, and answers that are found in it.

Belongs here: facts, sessions, searching them, agent-0. Does not belong here: which answer is accepted
(`council.routing`), HTTP (`council.api`).
"""
