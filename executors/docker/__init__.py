"""Docker: containers of one engine, by name, by label or by compose service.

Here belongs whatever knows the Docker Engine API. Importable without the Docker SDK, which is loaded with the first
connection.
"""

from __future__ import annotations

from executors.docker.executor import DockerExecutor

__all__ = ["DockerExecutor"]
