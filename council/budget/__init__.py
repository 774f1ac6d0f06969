"""What may be spent, and what was.

Belongs here: reserving, settling and counting money. Does not belong here: what a request is worth doing.
"""
