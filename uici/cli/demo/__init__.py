"""`uici demo`: three services, broken in three ways and healed, on a bare machine.

Belongs here: the story and its alerts. Does not belong here: any power of its own; it talks to a `uici serve` over
HTTP, as Alertmanager, an operator and an approver would. Nor anything about a platform: where the services live, and
how they are broken, comes in by an entry point.
"""

from uici.cli.demo.story import run

__all__ = ["run"]
