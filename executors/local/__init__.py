"""Platform `local`: processes of this machine under a real supervisord, one program per instance.

Belongs here: supervisord's socket, its files, the processes it runs. Does not belong here: when to act,
retries, anything about other platforms.
"""

from executors.local.executor import LocalExecutor

__all__ = ["LocalExecutor"]
