"""Which bounds an autoscaler gets for a wanted number, and when those that people gave come back."""

from __future__ import annotations

import pytest

from executors.kubernetes.autoscaling import BOUNDS_NOTE, Bounds, bounds_of, rebounded, refuse_bounded
from uici.model.base import JsonObject
from uici.model.call import CallError


def scaler(least: int | None, most: int, **metadata: object) -> JsonObject:
    spec = {"maxReplicas": most, **({} if least is None else {"minReplicas": least})}
    return {"metadata": {"name": "web", **metadata}, "spec": spec}


@pytest.mark.parametrize(
    ("least", "most", "wanted", "bounds"),
    [(1, 3, 2, (1, 3)), (1, 3, 5, (1, 5)), (2, 3, 1, (1, 3)), (None, 3, 4, (1, 4)), (2, 2, 2, (2, 2))],
)
def test_the_bounds_are_widened_no_more_than_needed(
    least: int | None, most: int, wanted: int, bounds: tuple[int, int]
) -> None:
    old = scaler(least, most)
    new = rebounded(old, wanted)
    assert bounds_of(new) == Bounds(*bounds)
    assert (new == old) is (bounds_of(old) == Bounds(*bounds))


def test_what_people_gave_comes_back_as_soon_as_it_holds_the_number() -> None:
    old = scaler(None, 3)
    wide = rebounded(rebounded(old, 5), 7)
    assert bounds_of(wide) == Bounds(1, 7)
    back = rebounded(wide, 2)
    assert bounds_of(back) == Bounds(1, 3)
    assert BOUNDS_NOTE not in back["metadata"]["annotations"]
    assert back["spec"] == old["spec"]


def test_bounds_that_people_changed_since_are_theirs() -> None:
    wide = rebounded(scaler(1, 3), 5)
    wide["spec"]["maxReplicas"] = 10
    assert bounds_of(rebounded(wide, 2)) == Bounds(1, 10)


def test_a_number_outside_is_refused_unless_it_may_be_adjusted() -> None:
    with pytest.raises(CallError, match="between 1 and 3, so it would not stay at 5"):
        refuse_bounded(scaler(1, 3), 5, "it", adjustable=False)
    refuse_bounded(scaler(1, 3), 5, "it", adjustable=True)
    refuse_bounded(scaler(1, 3), 3, "it", adjustable=False)
    owner = {"kind": "ScaledObject", "name": "web", "controller": True}
    with pytest.raises(CallError, match="ScaledObject 'web' keeps as it says"):
        refuse_bounded(scaler(1, 3, ownerReferences=[owner]), 5, "it", adjustable=True)
