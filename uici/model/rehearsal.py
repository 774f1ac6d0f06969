"""What a platform itself says that a call would do, asked without doing it."""

from __future__ import annotations

from uici.model.base import Frozen, JsonValue


class ObjectChange(Frozen):
    """One value of one of the platform's objects. A secret is hidden by whoever knows the object's type."""

    object: str
    """What it is, for people: `Deployment shop/web`."""
    field: str
    """Path inside the object; empty for the object as a whole."""
    now: JsonValue
    after: JsonValue


class Rehearsal(Frozen):
    """The platform's own answer to a call that was sent as a dry run, or what can be told beforehand without one."""

    accepted: bool | None
    """None: the platform was not asked, because it knows no dry run."""
    code: str = ""
    """Of a refusal: the code of the `CallError` that the call itself would end in."""
    reason: str = ""
    """Of a refusal: what the platform says, and what to do; why it was not asked."""
    changes: tuple[ObjectChange, ...] = ()
    warnings: tuple[str, ...] = ()
    """What the platform, or whoever asked it, has to say beside."""
