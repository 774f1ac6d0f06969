"""The self-target guard where no platform is asked: silences would hide UICI's own alerts."""

from __future__ import annotations

import pytest

from uici.model.call import Call, CallError, FailureKind, Risk
from uici.model.identity import SelfGuardLayers, SelfIdentity
from uici.model.site import Environment
from uici.monitoring.performing import MonitoringCalls

OWN = SelfIdentity(names=frozenset({"uici", "own.name"}), state_paths=frozenset({"/var/uici.db"}))


def calls(identity: SelfIdentity = OWN, **layers: bool) -> MonitoringCalls:
    return MonitoringCalls("local", Environment(platform="local"), identity, SelfGuardLayers(**layers))


def silencing(**matchers: str) -> Call:
    return Call(
        id="c", name="alertmanager.silence", arguments={"matchers": matchers, "duration_seconds": 60, "comment": "x"},
        mutates=True, risk=Risk.LOW, timeout_seconds=5, in_flight_seconds=5, provable=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "matchers",
    [
        {"alertname": "Down", "container": "uici"},
        {"alertname": "UiciDown"},
        {"alertname": "Down", "path": "/var/uici.db"},
    ],
)
def test_a_silence_that_would_hide_alerts_about_uici_is_refused(matchers: dict[str, str]) -> None:
    with pytest.raises(CallError) as caught:
        calls()._refuse_own(matchers)
    assert (caught.value.kind, caught.value.code) == (FailureKind.PERMANENT, "self_target")
    with pytest.raises(CallError) as asked:
        calls()._silence(silencing(**matchers))
    assert asked.value.code == "self_target"
    with pytest.raises(CallError) as off:
        calls(executor=False)._silence(silencing(**matchers))
    assert off.value.code != "self_target"  # there is no Alertmanager to be asked


def test_another_silence_is_not_refused_and_lets_alerts_about_uici_through() -> None:
    calls()._refuse_own({"alertname": "Down", "container": "web"})
    through = calls()._never_own()
    assert {(item.value, item.is_regex, item.is_equal) for item in through} == {("(?i:own\\.name|uici)", True, False)}
    assert calls(executor=False)._never_own() == ()
    assert calls(SelfIdentity())._never_own() == ()
