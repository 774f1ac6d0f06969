"""How often one client may ask: counted by client, within a bound of memory."""

import pytest

from uici.access.rates import Rates, network
from uici.model.credentials import RateSettings


def rates(**more: int) -> Rates:
    settings = {"requests_per_minute": 3, "webhook_per_minute": 2, "wrong_per_minute": 2, "clients": 16} | more
    return Rates(RateSettings.model_validate(settings))


def test_each_client_has_its_own_limit() -> None:
    limits = rates()
    assert [limits.request("ann", webhook=False) for _ in range(3)] == [None, None, None]
    wait = limits.request("ann", webhook=False)
    assert wait is not None
    assert 0 < wait <= 60
    assert limits.request("bob", webhook=False) is None
    assert limits.request("ann", webhook=True) is None, "what is delivered is counted by itself"


def test_a_new_window_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = [100.0]
    monkeypatch.setattr("uici.access.rates.time.monotonic", lambda: ticks[0])
    limits = rates()
    for _ in range(4):
        last = limits.request("ann", webhook=False)
    assert last == 60
    ticks[0] += 45.5
    assert limits.request("ann", webhook=False) == 15
    ticks[0] += 15
    assert limits.request("ann", webhook=False) is None


def test_the_memory_is_bounded() -> None:
    limits = rates()
    for number in range(10_000):
        limits.wrong(f"10.0.{number // 256}.{number % 256}")
    assert limits.counted() == 16


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "", True),
    ],
)
def test_who_an_address_belongs_to(one: str, other: str, same: bool) -> None:
    assert (network(one) == network(other)) is same
