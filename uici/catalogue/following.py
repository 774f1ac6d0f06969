"""What differs between two mappings of thousands of entries, nearly all of which are the same objects."""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_
from typing import TypeVar

Entry = TypeVar("Entry")


def differing(now: Mapping[str, Entry], before: Mapping[str, Entry]) -> list[str] | None:
    """The keys that have other objects now; None where the keys themselves are others, or stand in another order.

    Nothing is looked into: that would fetch thousands of entries from the memory, which takes longer than the rest of
    a reload. An entry that is equal without being the same counts as another.
    """
    if len(now) != len(before) or not all(map(is_, now, before)):
        return None
    return [key for key, same in zip(now, map(is_, now.values(), before.values()), strict=True) if not same]
