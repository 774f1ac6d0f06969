"""Room on the engine's disk: dangling images and the build cache, and nothing that anything could still need."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from executors.deadline import Deadline
from executors.docker.engine import Engine
from executors.docker.lookup import Lookup
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind, Happened

_DANGLING: JsonObject = {"filters": {"dangling": ["true"]}}


class Reclaiming:
    """Pruning, and its proof. The engine itself keeps what a container uses, whatever is asked."""

    def __init__(self, engine: Engine, lookup: Lookup) -> None:
        self._engine = engine
        self._lookup = lookup

    def reclaim(self, deadline: Deadline) -> JsonObject:
        """Prune the build cache, then the dangling images: the images, which `happened` looks at, are the last."""
        cache = self._cache(deadline)
        images = self._pruned(("images", "prune"), _DANGLING, deadline)
        gone = [one for one in images.get("ImagesDeleted") or () if "Deleted" in one]
        return {
            "reclaimed_bytes": int(cache.get("SpaceReclaimed") or 0) + int(images.get("SpaceReclaimed") or 0),
            "removed": len(cache.get("CachesDeleted") or ()) + len(gone),
        }

    def before(self) -> JsonObject:
        """The images that will go."""
        return {"dangling": self._dangling()}

    def happened(self, before: JsonObject) -> Happened:
        """YES when all those images are gone. NO may be sent again, since what is gone cannot go twice.

        Where there were none, nothing shows whether the build cache was pruned: then it is done again.
        """
        then = before.get("dangling")
        if not isinstance(then, list):
            return Happened.UNKNOWN
        return Happened.YES if then and not set(then) & set(self._dangling()) else Happened.NO

    def _dangling(self) -> list[str]:
        used = {str(entry.get("ImageID")) for entry in self._lookup.listed({})}
        found = self._engine.get(("images", "json"), _DANGLING).json() or []
        return sorted(str(one["Id"]) for one in found if one["Id"] not in used)

    def _cache(self, deadline: Deadline) -> dict[str, Any]:
        try:
            return self._pruned(("build", "prune"), {}, deadline)
        except CallError as error:
            # Engines that build nothing themselves, such as Podman's, have no such endpoint.
            absent = isinstance(error.detail, dict) and error.detail.get("status") in (
                HTTPStatus.NOT_FOUND,
                HTTPStatus.NOT_IMPLEMENTED,
            )
            if error.kind is FailureKind.PERMANENT and absent:
                return {}
            raise

    def _pruned(self, path: tuple[str, str], query: JsonObject, deadline: Deadline) -> dict[str, Any]:
        answer = self._engine.post(path, query, deadline=deadline, extra_seconds=deadline.left())
        return dict(answer.json() or {})
