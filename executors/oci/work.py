"""Work that goes on after a request was accepted: waited for, and its errors told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from executors.deadline import Deadline
from executors.oci.connection import Answer, Cloud
from uici.model.base import JsonObject
from uici.model.call import CallError, FailureKind

_Member = TypeVar("_Member")
_GOES_ON = frozenset({"ACCEPTED", "IN_PROGRESS", "CANCELING", "WAITING"})
_FAILED = frozenset({"FAILED", "CANCELED", "NEEDS_ATTENTION"})


class Work:
    """Waits for work requests of every service that has its own."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def done(self, service: str, answer: Answer, what: str, deadline: Deadline) -> None:
        """Wait for the end of the work that `answer` announced; nothing when it announced none.

        Raises CallError: PERMANENT `work_request_failed` with the service's own errors, UNKNOWN
        `work_request_unfinished` when the time is over, as `Cloud.ask` when it cannot be looked at.
        """
        if answer.work_request is None:
            return
        while True:
            seen = self._seen(service, answer.work_request)
            status = str(seen.get("status") or seen.get("lifecycle_state") or "")
            if status in _FAILED:
                raise self._failure(service, answer.work_request, seen, what)
            if status not in _GOES_ON:
                return
            self.pause(deadline, f"{what}: {status.lower()}, work request {answer.work_request}")

    def pause(self, deadline: Deadline, what: str) -> None:
        """Until the next look. Raises CallError(UNKNOWN, `work_request_unfinished`) when the time is over."""
        if deadline.left() == 0:
            raise CallError(
                FailureKind.UNKNOWN,
                "work_request_unfinished",
                f"{self._cloud.where} has not ended in time: {what}; it may still do so",
            )
        time.sleep(min(self._cloud.settings.poll_seconds, max(0.01, deadline.left())))

    def until(self, condition: Callable[[], bool], what: str, deadline: Deadline) -> None:
        """Look again and again. Raises CallError as `pause`."""
        while not condition():
            self.pause(deadline, what)

    def of_containers(self, compartment: str, resource: str) -> list[JsonObject]:
        """Work requests of a container instance, the newest first."""
        found = self._cloud.all(
            "containers", "list_work_requests", compartment, resource_id=resource, sort_by="timeAccepted"
        )
        own = [one for one in found if _concerns(one, resource)]
        return sorted(own, key=lambda one: str(one.get("time_accepted")), reverse=True)

    def settled(self, compartment: str, resources: Sequence[str], deadline: Deadline) -> bool:
        """Wait until nothing goes on with these container instances. False when the time was over first."""
        while any(
            one["status"] in _GOES_ON for resource in resources for one in self.of_containers(compartment, resource)
        ):
            if deadline.left() == 0:
                return False
            time.sleep(self._cloud.settings.poll_seconds)
        return True

    def _seen(self, service: str, request: str) -> JsonObject:
        found: JsonObject = self._cloud.ask(_keeper(service), "get_work_request", request).data
        return found

    def _failure(self, service: str, request: str, seen: JsonObject, what: str) -> CallError:
        errors = seen.get("error_details")
        if errors is None:
            errors = self._cloud.all(_keeper(service), "list_work_request_errors", request)
        told = "; ".join(
            f"{one.get('code') or one.get('error_code')}: {' '.join(str(one.get('message')).split())[:400]}"
            for one in errors[:5]
        )
        return CallError(
            FailureKind.PERMANENT,
            "work_request_failed",
            f"{self._cloud.where} could not {what}: {told or 'it does not say why'} (work request {request})",
            detail={"work_request": request, "errors": [one.get("code") or one.get("error_code") for one in errors]},
        )


def _keeper(service: str) -> str:
    """Which client tells of a service's work."""
    return {"containers": service, "balancer": service, "functions": "function_work"}.get(service, "work")


def _concerns(request: JsonObject, resource: str) -> bool:
    return any(one.get("identifier") == resource for one in request.get("resources") or ())


def each(members: Sequence[_Member], act: Callable[[_Member], bool]) -> list[bool]:
    """Act on one after another. When a later one fails, the call as a whole is no longer "not carried out"."""
    done: list[bool] = []
    for member in members:
        try:
            done.append(act(member))
        except CallError as error:
            if not any(done):
                raise
            raise CallError(
                FailureKind.UNKNOWN,
                error.code,
                f"{error.message}; {len(done)} of {len(members)} were done before",
                detail=error.detail,
            ) from None
    return done
