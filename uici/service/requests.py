"""The bodies of requests. Strict: an unknown key or a value of another type is refused, never guessed at."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from uici.access.roles import Role
from uici.model.base import JsonObject
from uici.model.masking import mask
from uici.model.operation import NAME
from uici.model.plan import VerifySettings
from uici.model.scope import EVERYTHING, Pattern, Scope

# What people write is kept and told: a secret that they pasted is hidden before anything else sees it.
Masked = AfterValidator(lambda text: str(mask(text)))
Words = Annotated[str, Field(max_length=2000), Masked]
Name = Annotated[str, Field(min_length=1, max_length=253)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Step(_Body):
    """One operation on one target."""

    operation: str = Field(pattern=NAME)
    target: Name
    parameters: JsonObject = Field(default_factory=dict)


class WrittenPlan(_Body):
    """A plan written by hand, for the description of the API; `uici.planning` parses it and knows the site."""

    environment: Name | None = Field(default=None, description="the site's default when left out")
    steps: list[Step] = Field(min_length=1, max_length=50)
    reason: Words = ""
    verify: VerifySettings | None = None


class PreviewBody(_Body):
    """What is to be previewed: an incident or a plan. An alert payload is sent as it is, with its `alerts`."""

    environment: Name | None = None
    incident: Name | None = None
    plan: JsonObject | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> PreviewBody:
        if (self.incident is None) is (self.plan is None):
            raise ValueError("give exactly one of: alerts (a whole Alertmanager payload), incident, plan")
        return self


class StartBody(_Body):
    """A plan to run."""

    plan: JsonObject
    reason: Words = ""


class DecisionBody(_Body):
    """An answer for a run that waits. It counts only for the plan whose `cid` it names."""

    cid: str = Field(min_length=1, max_length=100)
    comment: Words = ""


class CancelBody(_Body):
    """Why a run is to stop."""

    reason: Words = ""


class FreezeBody(_Body):
    """Stop everything new, or with `frozen: false` allow it again: all within the caller's scope, or what is named."""

    frozen: bool = True
    environment: Pattern | None = None
    target: Pattern | None = None
    reason: Words = ""


class ReloadBody(_Body):
    """Why the configuration is loaded again."""

    reason: Words = ""


class ChannelBody(_Body):
    """Which channel is to be tested; all of them when it is left out."""

    channel: Name | None = None


class RetryBody(_Body):
    """Which messages that were given up are to be tried again."""

    ids: list[Annotated[int, Field(ge=1, le=2**63 - 1)]] | None = Field(default=None, min_length=1, max_length=1000)
    all_dead: bool = False

    @model_validator(mode="after")
    def _exactly_one(self) -> RetryBody:
        if (self.ids is None) is (not self.all_dead):
            raise ValueError("give exactly one of: ids, all_dead: true")
        return self


class TokenBody(_Body):
    """A token to create."""

    # From JSON, so a role is a text; which texts there are is said by the enumeration.
    role: Role = Field(strict=False)
    name: str = Field(default="", max_length=64, description="whose it is; tokens of one name are one person's")
    expires_in: Name | None = Field(default=None, description="a duration such as `90d`; never when left out")
    scope: Scope = EVERYTHING


class RotateBody(_Body):
    """How a token is followed by a new one."""

    overlap: Name = Field(default="24h", description="how long the old one goes on; `0s`: not at all")
    expires_in: Name | None = Field(
        default=None, description="when the new one ends; when left out, as long as the old one was made for"
    )


class RevokeBody(_Body):
    """Why a token is revoked."""

    reason: Words = ""


class FeedbackBody(_Body):
    """A person's word on the last remedy that a run carried out."""

    good: bool
    comment: Words = ""


class VetoBody(_Body):
    """A remedy that no rule may take. Without `environment` and `target` it holds everywhere."""

    strategy: Name
    remedy: Name
    environment: Name | None = None
    target: Name | None = None
    reason: Annotated[str, Field(min_length=1, max_length=2000), Masked]


class LiftBody(_Body):
    """Why a veto, or the brake of a mass failure, is lifted."""

    reason: Words = ""
