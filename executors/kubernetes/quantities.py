"""Kubernetes' quantities (`500m`, `1.5`, `128Mi`, `1e3`): what they are worth, and how a number is written. Pure."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

from uici.model.base import JsonValue
from uici.model.call import CallError, FailureKind

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d{1,3}))?")
_BINARY = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_WORTH = {
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(_BINARY, start=1)},
    **{
        suffix: Decimal(10) ** power
        for suffix, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
    },
}


def worth(quantity: JsonValue) -> Decimal:
    """What a quantity is worth, in cores, bytes or whatever it counts. Raises CallError(PERMANENT, `bad_quantity`)."""
    found = _QUANTITY.fullmatch(str(quantity).strip())
    if found is None:
        raise CallError(
            FailureKind.PERMANENT,
            "bad_quantity",
            f"{quantity!r:.80} is no quantity of Kubernetes: a number with one of {', '.join(_WORTH)}, or an exponent",
        )
    number, suffix, exponent = found.groups()
    value = Decimal(number)
    if suffix:
        return value * _WORTH[suffix]
    return value.scaleb(int(exponent)) if exponent else value


def cores(quantity: JsonValue) -> float | None:
    """A quantity of processor in cores; None for none."""
    return None if quantity is None else float(worth(quantity))


def whole_bytes(quantity: JsonValue) -> int | None:
    """A quantity of memory in bytes, a fraction rounded up as Kubernetes does; None for none."""
    return None if quantity is None else int(worth(quantity).to_integral_value(ROUND_CEILING))


def written_cores(number: float) -> str:
    """Cores as Kubernetes writes them: whole, else in thousandths, which is as fine as it gets."""
    thousandths = max(1, int((Decimal(str(number)) * 1000).to_integral_value(ROUND_CEILING)))
    return str(thousandths // 1000) if thousandths % 1000 == 0 else f"{thousandths}m"


def written_bytes(number: int) -> str:
    """Bytes as Kubernetes writes them: with the largest binary suffix that loses nothing."""
    for power, suffix in reversed(list(enumerate(_BINARY, start=1))):
        if number and number % 1024**power == 0:
            return f"{number // 1024**power}{suffix}"
    return str(number)
