"""Docker: containers of one engine, by name, by label or by compose service.

Belongs here: whatever knows the Docker Engine API; importable without the Docker SDK, which is loaded with the first
connection. Does not belong here: retries, guards other than the self-target's last layer, and anything a second
platform would need too.
"""

from __future__ import annotations

from executors.docker.executor import DockerExecutor

__all__ = ["DockerExecutor"]
