"""What a test orders to go wrong: throttling, failures, hanging, lost answers, slow or failing work requests."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

Trouble = Literal["throttle", "fail", "deny", "hang", "drop_before", "drop_after", "slow_work", "fail_work"]
"""throttle: 429. fail: 500. deny: 404. hang: no answer and nothing done, for `seconds`. drop_before, drop_after: the
connection is cut before or after the change is carried out. slow_work, fail_work: of the work request that the request
begins."""
TROUBLES: tuple[str, ...] = get_args(Trouble)
_OF_WORK = {"slow_work", "fail_work"}


@dataclass
class Order:
    """One kind of trouble for the next `count` requests of the operations that `operation` matches."""

    trouble: Trouble
    operation: str = "*"
    """A pattern over names such as `container_instances.ContainerInstanceClient.stop_container_instance`."""
    count: int = 1
    seconds: float = 0.0
    """How long to hang; how much longer the work takes."""
    code: str = "InternalServerError"
    message: str = "The operation failed as the simulator was told."
    skip: int = 0
    """So many matching requests pass first."""


class Orders:
    """The orders that are still open. Usable by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[Order] = []

    def add(self, order: Order) -> None:
        """Order trouble."""
        with self._lock:
            self._open.append(order)

    def clear(self) -> None:
        """Take back all orders."""
        with self._lock:
            self._open.clear()

    def open(self) -> list[Order]:
        """The orders that have not been carried out yet."""
        with self._lock:
            return list(self._open)

    def take(self, operation: str, *, of_work: bool = False) -> Order | None:
        """The first open order that meets a request, used up by one."""
        with self._lock:
            for order in self._open:
                if (order.trouble in _OF_WORK) is not of_work or not fnmatchcase(operation, order.operation):
                    continue
                if order.skip:
                    order.skip -= 1
                    continue
                order.count -= 1
                if order.count <= 0:
                    self._open.remove(order)
                return order
        return None
