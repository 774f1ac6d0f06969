"""Who answers a request: backends, how they are tried, and the cascade of stages.

Belongs here: talking to backends, retries, breakers, choosing among them, accepting or discarding an answer.
Does not belong here: HTTP towards clients (`council.api`), what money is left (`council.budget`).
"""
