"""The one composition root: from a folder of YAML to a running UICI.

Belongs here: making the objects and handing them to each other, starting and stopping them, finding out what
UICI itself is. Does not belong here: any decision of theirs.
"""

from uici.bootstrap.application import Application, offline_previews, open_state, open_tokens
from uici.bootstrap.checkup import check_up
from uici.bootstrap.safekeeping import back_up, open_retention, restore
from uici.bootstrap.serving import serve

__all__ = [
    "Application",
    "back_up",
    "check_up",
    "offline_previews",
    "open_retention",
    "open_state",
    "open_tokens",
    "restore",
    "serve",
]
