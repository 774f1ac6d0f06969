"""From a webhook's body to incidents: parsing, targeting, deduplication, and the commit before the answer.

Belongs here: everything up to the committed alert. Does not belong here: asking a platform anything, and
deciding what to do.
"""
