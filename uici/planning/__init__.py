"""From findings to a plan: the strategy's ladder, or what a person wrote.

Belongs here: deciding what to do. Does not belong here: deciding whether it may be done, and doing it.
"""
