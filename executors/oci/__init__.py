"""Oracle Cloud Infrastructure: container instances, compute instances, instance pools and functions of one region.

Belongs here: whatever knows the services of Oracle Cloud; importable without the `oci` SDK, which is loaded with the
first connection. Does not belong here: retries of changes, guards other than the self-target's last layer, and
anything a second platform would need too.
"""

from __future__ import annotations

from executors.oci.executor import OciExecutor

__all__ = ["OciExecutor"]
