"""The one composition root: from a folder of YAML to a running UICI.

Belongs here: making the objects and handing them to each other, starting and stopping them, finding out what
UICI itself is. Does not belong here: any decision of theirs.
"""

from uici.bootstrap.application import Application, offline_previews, open_state, open_tokens
from uici.bootstrap.checkup import check_up
from uici.bootstrap.serving import serve

__all__ = ["Application", "check_up", "offline_previews", "open_state", "open_tokens", "serve"]
