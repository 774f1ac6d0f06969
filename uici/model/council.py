"""The model that is asked for plans: the shape of `council` in platform.yml."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from uici.model.base import JsonObject
from uici.model.operation import NAME
from uici.model.plan import VerifySettings
from uici.model.servers import MonitoringServer

_TRIAGE = (
    "get_service_status",
    "check_service_health",
    "check_logs",
    "describe_service",
    "check_resource_usage",
    "list_events",
)
_OperationName = Annotated[str, Field(pattern=NAME)]


class CouncilSettings(MonitoringServer):
    """A server with the OpenAI API, and how much it may be asked."""

    url: str = Field(pattern=r"^https?://", description="of the API, such as http://127.0.0.1:8310/v1")
    model: str = Field(default="council", min_length=1, max_length=256)
    timeout: Annotated[float, Field(gt=0, le=600)] = Field(default=60.0, description="how long one answer may take")
    max_answer_bytes: int = Field(default=1_048_576, ge=1024, le=16_777_216)
    temperature: float | None = Field(default=0.0, ge=0, le=2, description="null: what the server has by itself")
    answer_tokens: int = Field(default=2048, ge=64, le=65_536, description="of one answer, at the most")
    deadline_seconds: float = Field(
        default=300.0, ge=1, le=86_400, description="from the first question to a plan; then a human is told"
    )
    after_ladder: bool = Field(
        default=False, description="asked also when a strategy's ladder has ended without healing, not only without one"
    )
    plans: int = Field(default=2, ge=1, le=10, description="so many plans of one run are carried out, at the most")
    verify: VerifySettings = Field(default=VerifySettings(), description="when a plan of it has helped")
    requests: int = Field(default=12, ge=1, le=100, description="of one run")
    tokens: int = Field(default=100_000, ge=1000, le=10_000_000, description="read and written for one run")
    looks: int = Field(default=8, ge=0, le=50, description="read-only operations it may ask for before each plan")
    at_once: int = Field(default=4, ge=1, le=256, description="questions under way in one process; the others wait")
    triage: dict[_OperationName, JsonObject] = Field(
        default_factory=lambda: {name: JsonObject() for name in _TRIAGE},
        description="read-only operations, with their parameters, whose results it always gets, where there are any",
    )
    operations: tuple[_OperationName, ...] | None = Field(
        default=None, description="those that it is offered; null: all that the target's platform has, but for `never`"
    )
    never: tuple[_OperationName, ...] = Field(
        default=("silence_alert", "expire_silence", "escalate_to_human", "propose_change"),
        description="operations that it is not offered: silence is no health, and people are told anyway",
    )
    result_bytes: int = Field(default=4096, ge=256, le=262_144, description="of one result that it is shown")
    prompt_bytes: int = Field(default=131_072, ge=16_384, le=8_388_608, description="of all that it is shown at once")
    past_incidents: int = Field(default=5, ge=0, le=50, description="similar ones that it is told of")
    guides: int = Field(default=3, ge=0, le=20, description="that it is given for the alert")
