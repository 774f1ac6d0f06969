"""What can be told of Oracle Cloud by looking: whether UICI is let in, where it speaks to, whether the clocks agree."""

from __future__ import annotations

from datetime import UTC, datetime

from executors.oci.connection import Cloud
from uici.model.call import CallError
from uici.model.checkup import Check, fail, ok, warn
from uici.ports import ConnectionReport

_MOST_SKEW = 300.0
"""Seconds; the services refuse a signature that is older or newer."""
_SOME_SKEW = 30.0
_ADVICE = {
    "oci_sdk_missing": "pip install 'uici[oci]'",
    "oci_unreachable": "check the network, connection.region and connection.endpoint in environments.yml",
    "oci_not_authenticated": "check the profile's user, fingerprint and key, and this machine's clock",
    "oci_bad_credentials": "check connection.auth: the file, the profile, and that UICI may read the key",
    "oci_not_found": "write a policy that lets UICI's group inspect container instances in the compartment",
}


def report(cloud: Cloud) -> ConnectionReport:
    """Ask for one container instance. Never raises."""
    try:
        region, compartment = cloud.region(), cloud.compartment()
        answer = cloud.ask("containers", "list_container_instances", compartment, limit=1)
        import oci
    except CallError as error:
        advice = _ADVICE.get(error.code, "see what was seen; nothing can be healed here")
        told = fail("oracle cloud", error.message, advice)
        return ConnectionReport(ok=False, detail=error.message, checks=(told,))
    answers = f"{cloud.where} answers as {cloud.settings.auth.kind.replace('_', ' ')}, region {region}"
    return ConnectionReport(
        ok=True,
        detail=answers,
        version=f"SDK {oci.__version__}",
        at=answer.at,
        checks=(ok("oracle cloud", answers), *_clock(answer.at)),
    )


def _clock(theirs: datetime | None) -> tuple[Check, ...]:
    if theirs is None:
        return ()
    skew = abs((datetime.now(UTC) - theirs).total_seconds())
    seen = f"this machine's clock and Oracle Cloud's differ by {skew:.0f} s"
    if skew < _SOME_SKEW:
        return (ok("clock", seen),)
    advice = f"set the clock (chrony, ntpd): beyond {_MOST_SKEW:.0f} s every request is refused"
    return (warn("clock", seen, advice),)
