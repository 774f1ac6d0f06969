"""Results that are kept with an incident: of operations that say so (`keep_result`), masked and bounded."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, func, select

from uici.model.base import Frozen, JsonObject, digest
from uici.model.incident import Observation
from uici.model.masking import mask
from uici.model.operation import Operation
from uici.model.settings import RecordSettings
from uici.model.shortening import shortened, size_of
from uici.runs.data import RunData
from uici.runs.services import Services
from uici.store.schema import kept_results

DIAGNOSIS, PLAN, UNDO = "diagnosis", "plan", "undo"
"""When the operation was performed."""


class Kept(Frozen):
    """One result as it is kept."""

    operation: str
    result: JsonObject
    shortened: bool

    @property
    def noted(self) -> JsonObject:
        """What the timeline says instead of the result itself."""
        return {"kept_bytes": size_of(self.result), "shortened": self.shortened}


def kept(operation: Operation, result: JsonObject, settings: RecordSettings) -> Kept | None:
    """What is kept of a result; None where the operation does not ask for it. Done before any transaction begins."""
    if not operation.keep_result:
        return None
    fitting, cut = shortened(dict(mask(result)), settings.result_bytes)
    return Kept(operation=operation.name, result=fitting, shortened=cut)


def kept_of(services: Services, data: RunData, observations: Iterable[Observation]) -> tuple[Kept, ...]:
    """What is kept of a diagnosis."""
    operations = services.platforms_of(data).site.operations
    settings = services.site().platform.records
    found = (
        kept(operations[item.operation], item.result, settings)
        for item in observations
        if item.result is not None and item.operation in operations
    )
    return tuple(item for item in found if item is not None)


def keep(connection: Connection, services: Services, data: RunData, phase: str, results: Iterable[Kept]) -> None:
    """Store results in the transaction of what is written anyway. What the incident has already is not stored again."""
    most = services.site().platform.records.incident_bytes
    for item in results:
        known = kept_results.c.incident_id == data.incident_id
        used = connection.execute(select(func.sum(kept_results.c.bytes)).where(known)).scalar() or 0
        result, cut = item.result, item.shortened
        if used + size_of(result) > most:
            result, cut = {"left_out": f"all of it: the results of this incident have their {most} bytes"}, True
        content = digest([item.operation, result])
        if connection.execute(select(kept_results.c.id).where(known, kept_results.c.digest == content)).first():
            continue
        connection.execute(
            kept_results.insert().values(
                incident_id=data.incident_id,
                run_id=data.run_id,
                at=services.clock.now(),
                operation=item.operation,
                phase=phase,
                digest=content,
                bytes=size_of(result),
                shortened=cut,
                result=result,
            )
        )


def note_step(services: Services, data: RunData, operation: Operation, result: JsonObject) -> None:
    """Tell the timeline that a step was carried out, with its result; one that is kept stands with the incident."""
    found = kept(operation, result, services.site().platform.records)
    if found is not None and data.incident_id is not None:
        results, phase = [found], UNDO if data.undoing else PLAN
        services.later(lambda connection: keep(connection, services, data, phase, results))
        result = found.noted
    elif found is not None:
        result = found.result
    services.note_alone(data, "step_done", operation=operation.name, result=result)
