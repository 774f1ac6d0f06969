"""`uici demo`: three local services, broken in three ways and healed, on a bare machine.

Belongs here: the story, its services and its alerts. Does not belong here: any power of its own; it talks to a
`uici serve` over HTTP, as Alertmanager, an operator and an approver would.
"""

from uici.cli.demo.story import run

__all__ = ["run"]
