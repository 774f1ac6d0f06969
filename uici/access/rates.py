"""How often one client may ask. Counted in the memory of each process, in windows of a minute, within a bound."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

from limits import RateLimitItemPerMinute
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from uici.model.credentials import RateSettings


class _Bounded(Storage):
    """Counters of the newest clients, by a clock that nobody sets. The library's own storage grows without bound."""

    STORAGE_SCHEME = None

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._lock = threading.Lock()
        self._counters: OrderedDict[str, tuple[int, float]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = time.monotonic()
        with self._lock:
            count, ends = self._counters.pop(key, (0, 0.0))
            if ends <= now:
                count, ends = 0, now + expiry
            self._counters[key] = count + amount, ends
            if len(self._counters) > self._most:
                self._counters.popitem(last=False)
        return count + amount

    def get(self, key: str) -> int:
        count, ends = self._counters.get(key, (0, 0.0))
        return count if ends > time.monotonic() else 0

    def get_expiry(self, key: str) -> float:
        return self._counters.get(key, (0, time.monotonic()))[1]

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        with self._lock:
            count = len(self._counters)
            self._counters.clear()
        return count

    def clear(self, key: str) -> None:
        with self._lock:
            self._counters.pop(key, None)

    def __len__(self) -> int:
        return len(self._counters)


class Rates:
    """The limits of one process."""

    def __init__(self, settings: RateSettings) -> None:
        self._storage = _Bounded(settings.clients)
        self._limiter = FixedWindowRateLimiter(self._storage)
        self._requests = RateLimitItemPerMinute(settings.requests_per_minute, namespace="requests")
        self._webhook = RateLimitItemPerMinute(settings.webhook_per_minute, namespace="webhook")
        self._wrong = RateLimitItemPerMinute(settings.wrong_per_minute, namespace="wrong")

    def request(self, caller: str, *, webhook: bool) -> int | None:
        """Count a request of a known caller; None when it may go on, else after how many seconds it may."""
        return self._hit(self._webhook if webhook else self._requests, caller)

    def wrong(self, address: str) -> int | None:
        """Count a wrong credential from an address, likewise."""
        return self._hit(self._wrong, network(address))

    def counted(self) -> int:
        """How many clients are counted now."""
        return len(self._storage)

    def _hit(self, item: RateLimitItemPerMinute, who: str) -> int | None:
        if self._limiter.hit(item, who):
            return None
        return max(1, math.ceil(self._storage.get_expiry(item.key_for(who)) - time.monotonic()))


def network(address: str) -> str:
    """Who an address belongs to: of IPv6 anybody has 2^64 of them."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
