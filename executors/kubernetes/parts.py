"""What the executor is put together of: each part does some of the published calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

from executors.deadline import Deadline
from executors.kubernetes.publishing import Published
from uici.model.base import Frozen, JsonObject
from uici.model.call import Happened


class Part(Protocol):
    """Carries out the calls that it publishes. `arguments` is of the type that the call was published with."""

    published: ClassVar[Mapping[str, Published]]

    def perform(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """Carry out one call; see `uici.ports.Executor.perform`. Guards itself against acting on UICI."""

    def before(self, name: str, arguments: Frozen, deadline: Deadline) -> JsonObject:
        """The state that `happened` will compare with; asked of provable calls only."""

    def happened(self, name: str, arguments: Frozen, before: JsonObject, deadline: Deadline) -> Happened:
        """Whether the cluster shows that the call was carried out; asked of provable calls only."""
