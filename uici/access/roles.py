"""Roles and permissions: one table, read by the service and shown to people."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from uici.model.base import Frozen
from uici.model.credentials import Role as Role
from uici.model.scope import EVERYTHING, Scope


class Permission(StrEnum):
    """One thing that a caller may be allowed to do."""

    WEBHOOK = "webhook"  # report alerts
    VIEW = "view"  # read everything that the API shows
    PREVIEW = "preview"  # ask what would be done; nothing is changed
    START = "start"  # start a run from a plan, cancel a run, have messages to people tried again
    FREEZE = "freeze"  # stop everything new from starting, and allow it again
    APPROVE = "approve"  # answer for a run that waits
    AUDIT = "audit"  # read the log of all decisions
    ADMINISTER = "administer"  # create and revoke tokens, load the configuration again, test the ways to people


_VIEWER = frozenset({Permission.VIEW, Permission.PREVIEW})
# Whoever may start a run directly gains nothing by reporting an alert, so the webhook comes with it.
_OPERATOR = _VIEWER | {Permission.START, Permission.FREEZE, Permission.WEBHOOK}
_APPROVER = _OPERATOR | {Permission.APPROVE}

PERMISSIONS: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {
        Role.ALERTMANAGER: frozenset({Permission.WEBHOOK}),
        Role.VIEWER: _VIEWER,
        Role.AUDITOR: _VIEWER | {Permission.AUDIT},
        Role.OPERATOR: _OPERATOR,
        Role.APPROVER: _APPROVER,
        Role.ADMIN: frozenset(Permission),
    }
)


def roles_with(permission: Permission) -> tuple[Role, ...]:
    """The roles that hold `permission`, weakest first."""
    return tuple(role for role in Role if permission in PERMISSIONS[role])


class Principal(Frozen):
    """Who is calling, as a valid credential says."""

    id: str
    """Of the credential: a token's id, or what stands for the subject of another kind."""
    name: str
    role: Role
    scope: Scope = EVERYTHING

    def may(self, permission: Permission) -> bool:
        """Whether the role holds `permission`."""
        return permission in PERMISSIONS[self.role]

    @property
    def actor(self) -> str:
        """How this caller is recorded: the name for people, the credential's id because names are not unique."""
        return f"{self.name}#{self.id}"


def same_person(one: str, other: str) -> bool:
    """Whether two recorded callers (`Principal.actor`) count as one person: by the credential, or by the name.

    A name says who somebody is; several tokens of one name are one person's. So are names that only look different.
    """
    name, _, id_ = one.rpartition("#")
    other_name, _, other_id = other.rpartition("#")
    if not name or not other_name:  # recorded without a credential: the text is the name
        return _folded(name or id_) == _folded(other_name or other_id)
    return id_ == other_id or _folded(name) == _folded(other_name)


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())
