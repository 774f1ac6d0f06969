"""Step and environment into calls: pure, no I/O.

Belongs here: resolving references, checking parameters and arguments, classing calls, naming the undo. Does not
belong here: deciding whether a step may be done, or carrying it out.
"""
