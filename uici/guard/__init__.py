"""Whether a plan may be carried out: one module per guard, each a pure function (context) -> Decision.

Belongs here: policy. Does not belong here: reading state (the context brings it), and deciding what to do.
"""
