"""What a sender may report, where its credential is limited to some environments or targets."""

from __future__ import annotations

from dataclasses import replace

from uici.intake.payload import fingerprint_of
from uici.intake.targeting import TargetIndex
from uici.model.alert import Alert, Notification
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.scope import Scope


def confined(
    notification: Notification,
    sender: str,
    scope: Scope,
    index: TargetIndex,
    identity: SelfIdentity,
    layers: SelfGuardLayers,
) -> Notification:
    """The notification with the alerts apart that are not about a target within the scope, as their labels tell.

    Fingerprints are made from the labels: with a fingerprint of its own choice a sender could end the alert of another.
    Those outside have one that no other alert has, so that they are in nobody's way.
    """
    inside: list[Alert] = []
    outside: list[Alert] = []
    for alert in notification.alerts:
        targeted = index.resolve(alert, identity, layers)
        fingerprint = fingerprint_of(alert.labels)
        # What only the platform could tell is not proved to be within.
        if None not in (targeted.environment, targeted.target) and scope.covers(targeted.environment, targeted.target):
            inside.append(replace(alert, fingerprint=fingerprint))
        else:
            outside.append(replace(alert, fingerprint=f"{fingerprint} outside of {sender}"))
    return replace(notification, alerts=tuple(inside), outside=tuple(outside))
