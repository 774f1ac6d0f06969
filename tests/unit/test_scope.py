"""Scopes: what their patterns match, in Python and in a query alike, and who counts as one person."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.real.postgres import postgres
from uici.access.reach import require_everywhere, require_place, require_risk
from uici.access.roles import same_person
from uici.model.call import Risk
from uici.model.errors import Problem
from uici.model.scope import EVERYTHING, Scope
from uici.store.database import Store
from uici.store.schema import events
from uici.store.scoping import within

PLACES = [
    ("prod", "shop"), ("prod", "shop-api"), ("prod", "shopping"), ("prod", "Shop"),
    ("prod.eu", "a.b"), ("prodxeu", "axb"),
    ("prod", "a+b"), ("prod", "a|b"), ("staging", "shop"), ("prod", None), (None, "shop"), (None, None),
    ("prod", "shop\n"), ("prod", "[a]"), ("prod", "("), ("prod", "ümlaut"),
]  # fmt: skip
SCOPES = [
    EVERYTHING,
    Scope(environments=("prod",)),
    Scope(targets=("shop",)),
    Scope(environments=("prod",), targets=("shop-*", "a?b")),
    Scope(environments=("prod.eu", "stag*"), targets=("*.*", "shop")),
    Scope(targets=("a|b", "(", "[a]", "a+b")),
    Scope(environments=("*",), targets=("?hop", "ü*")),
    Scope(environments=("nowhere",)),
]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.component("postgres"))])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with ExitStack() as stack:
        sqlite = f"sqlite:///{tmp_path / 'uici.db'}"
        store = Store(sqlite if request.param == "sqlite" else stack.enter_context(postgres()).url)
        stack.callback(store.close)
        store.migrate()
        _fill(store)
        yield store


def _fill(store: Store) -> None:
    with store.write() as connection:
        for environment, target in PLACES:
            connection.execute(
                events.insert().values(
                    at=datetime(2030, 1, 1, tzinfo=UTC), type="x", environment=environment, target=target, data={}
                )
            )


def test_a_query_says_what_the_predicate_says(store: Store) -> None:
    for scope in SCOPES:
        with store.read() as connection:
            query = select(events.c.environment, events.c.target).where(*within(scope, events.c)).order_by(events.c.seq)
            found = [(row.environment, row.target) for row in connection.execute(query)]
        assert found == [place for place in PLACES if scope.covers(*place)], scope


def test_what_patterns_mean() -> None:
    scope = Scope(environments=("prod",), targets=("shop-*", "a?b"))
    inside = [place for place in PLACES if scope.covers(*place)]
    assert inside == [("prod", "shop-api"), ("prod", "a+b"), ("prod", "a|b")]
    assert Scope(environments=("prod.eu",)).covers("prodxeu", "x") is False
    assert Scope(targets=("shop",)).covers("prod", "shop\n") is False
    assert EVERYTHING.covers(None, None)
    assert not Scope(environments=("prod",)).covers(None, "shop")


@pytest.mark.parametrize("patterns", [(), ("",), ("a b",), ("a,b",), ("a\n",), ("x" * 254,)])
def test_patterns_that_are_none(patterns: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="targets"):
        Scope(targets=patterns)


def test_the_highest_risk() -> None:
    scope = Scope(highest_risk=Risk.MEDIUM)
    assert [risk for risk in Risk if scope.permits(risk)] == [Risk.LOW, Risk.MEDIUM]
    assert scope.everywhere, "a risk says nothing about where"
    require_everywhere(scope)
    require_risk(scope, Risk.MEDIUM)
    with pytest.raises(Problem, match="reaches up to medium"):
        require_risk(scope, Risk.HIGH)


def test_refusals_say_the_scope() -> None:
    scope = Scope(environments=("prod",), targets=("shop",), highest_risk=Risk.LOW)
    with pytest.raises(Problem) as caught:
        require_place(scope, "prod", "api")
    assert caught.value.allowed == ("environments prod; targets shop; risk up to low",)
    with pytest.raises(Problem, match="limited"):
        require_everywhere(Scope(environments=("prod",)))
    assert str(EVERYTHING) == "everything"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ann#1", "ann#2", True),
        ("Ann#1", "ann #2", True),
        ("\uff41nn#1", "ann#2", True),  # a full-width letter
        ("ann#1", "bob#1", True),
        ("ann#1", "bob#2", False),
        ("ann", "ann#2", True),
        ("ann", "bob", False),
        ("a#b#1", "a#c#2", False),
        ("a#b#1", "a#b#2", True),
    ],
)
def test_who_is_one_person(one: str, other: str, same: bool) -> None:
    assert same_person(one, other) is same
    assert same_person(other, one) is same
