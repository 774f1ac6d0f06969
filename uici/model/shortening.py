"""Fitting a JSON value into so many bytes. What is left out is said in its place."""

from __future__ import annotations

from uici.model.base import JsonObject, JsonValue, canonical_json

# Longest text, most items of a list or mapping: tried in turn until the value fits.
_STEPS = ((65_536, 2000), (16_384, 500), (4096, 200), (1024, 50), (256, 20), (64, 5))


def size_of(value: JsonValue) -> int:
    """Bytes of the value's canonical JSON. Raises as `canonical_json` does."""
    return len(canonical_json(value).encode("utf-8", "surrogatepass"))


def shortened(value: JsonObject, most_bytes: int) -> tuple[JsonObject, bool]:
    """The value itself, or what of it fits into `most_bytes`; and whether anything was left out.

    Of a long text the beginning and, as logs end with what matters, twice as much of the end is kept; of a long list
    both ends. Values must be masked before: a secret that is cut in two is not recognised any more.
    """
    size = size_of(value)
    if size <= most_bytes:
        return value, False
    for longest, most in _STEPS:
        cut = _cut(value, longest, most)
        if isinstance(cut, dict) and size_of(cut) <= most_bytes:
            return cut, True
    return {"left_out": f"all of it: it has {size} bytes, of which too many are structure"}, True


def _cut(value: JsonValue, longest: int, most: int) -> JsonValue:
    if isinstance(value, str) and len(value) > longest:
        head, tail = longest // 3, longest - longest // 3
        return f"{value[:head]}… {len(value) - longest} characters left out …{value[-tail:]}"
    if isinstance(value, list) and len(value) > most:
        half = most // 2
        kept = [_cut(item, longest, most) for item in (*value[:half], *value[-(most - half) :])]
        return [*kept[:half], f"… {len(value) - most} items left out …", *kept[half:]]
    if isinstance(value, list):
        return [_cut(item, longest, most) for item in value]
    if isinstance(value, dict):
        kept_items = {key: _cut(item, longest, most) for key, item in list(value.items())[:most]}
        left = len(value) - len(kept_items)
        return kept_items | ({"…": f"{left} members left out"} if left else {})
    return value
