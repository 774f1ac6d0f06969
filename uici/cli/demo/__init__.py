"""`uici demo`: three local services, broken in three ways and healed, on a bare machine.

Belongs here: the story, its services and its alerts. It has no power of its own: it talks to a `uici serve`
of its own over HTTP, as Alertmanager, an operator and an approver would.
"""

from uici.cli.demo.story import run

__all__ = ["run"]
