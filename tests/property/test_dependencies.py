"""Dependencies in order: nobody waits for ever, and nothing is healed before what it needs."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from uici.model.site import TargetSpec
from uici.model.topology import Place, Topology, cycle_of

_ENVIRONMENTS = ("blue", "green")


@st.composite
def targets(draw: Any, *, acyclic: bool = True) -> dict[str, TargetSpec]:
    names = [f"t{number}" for number in range(draw(st.integers(1, 9)))]
    found = {}
    for number, name in enumerate(names):
        bound = draw(st.sets(st.sampled_from(_ENVIRONMENTS), min_size=1))
        others = names[:number] if acyclic else names
        written = [*others, *(f"{environment}/{other}" for environment in _ENVIRONMENTS for other in others)]
        needed = draw(st.lists(st.sampled_from(written), max_size=4)) if written else []
        found[name] = TargetSpec(bindings={place: {} for place in sorted(bound)}, depends_on=tuple(needed))
    shuffled = draw(st.permutations(list(found)))
    return {name: found[name] for name in shuffled}


def places(specs: dict[str, TargetSpec]) -> list[Place]:
    return [Place(environment, name) for name, spec in specs.items() for environment in spec.bindings]


@given(targets(), st.data())
def test_whatever_is_broken_somebody_may_always_act_and_roots_are_healed_first(
    specs: dict[str, TargetSpec], data: st.DataObject
) -> None:
    assert cycle_of(specs) == ()
    topology = Topology(specs)
    broken = set(data.draw(st.lists(st.sampled_from(places(specs)), unique=True)))
    healed: list[Place] = []
    while broken:
        free = [place for place in sorted(broken) if not set(topology.needs(place)) & broken]
        assert free, f"each of {broken} waits for another"
        assert set(free) == set(topology.roots(broken))
        chosen = data.draw(st.sampled_from(free))
        healed.append(chosen)
        broken.remove(chosen)
    for number, place in enumerate(healed):
        assert not set(topology.needs(place)) & set(healed[number:])


@given(targets())
def test_all_that_is_needed_is_the_closure_of_what_is_declared(specs: dict[str, TargetSpec]) -> None:
    topology = Topology(specs)
    for place in places(specs):
        reached: set[Place] = set()
        waiting = list(topology.direct(place))
        while waiting:
            each = waiting.pop()
            reached.add(each)
            waiting += [other for other in topology.direct(each) if other not in reached]
        needed = topology.needs(place)
        assert set(needed) == reached
        assert len(needed) == len(set(needed))
        for number, each in enumerate(needed):
            assert not set(topology.needs(each)) & set(needed[number:]), "nothing stands before what it needs"
    ordered = topology.ordered(places(specs))
    for number, place in enumerate(ordered):
        assert not set(topology.needs(place)) & set(ordered[number:])


@given(targets(acyclic=False))
def test_a_cycle_that_is_told_is_one(specs: dict[str, TargetSpec]) -> None:
    cycle = cycle_of(specs)
    if not cycle:
        Topology(specs)
        return
    for number, place in enumerate(cycle):
        following = cycle[(number + 1) % len(cycle)]
        spec = specs[place.target]
        assert {following.target, str(following)} & set(spec.depends_on)
        assert following.environment in specs[following.target].bindings
