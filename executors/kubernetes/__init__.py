"""Kubernetes: workloads, pods and nodes of one cluster, by kind and name.

Belongs here: whatever knows the Kubernetes API; importable without the SDK, which is loaded with the first request.
Does not belong here: retries, guards other than the self-target's last layer, and anything a second platform would
need too.
"""

from __future__ import annotations

from executors.kubernetes.executor import KubernetesExecutor

__all__ = ["KubernetesExecutor"]
