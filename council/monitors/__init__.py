"""How the council itself is doing.

Belongs here: metrics, figures of the GPU, production status. Does not belong here: acting on any of them.
"""
