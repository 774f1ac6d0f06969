import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from uici.access.roles import PERMISSIONS, Permission, Role, roles_with
from uici.access.tokens import TokenStore
from uici.model.call import Risk
from uici.model.errors import Problem
from uici.model.scope import Scope
from uici.store import schema
from uici.store.database import Store

START = datetime(2030, 1, 1, tzinfo=UTC)


class Time:
    """A virtual wall clock."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'uici.db'}")
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def tokens(store: Store, time: Time) -> TokenStore:
    return TokenStore(store, now=time)


def test_roles_are_ordered_and_alertmanager_stands_beside_them() -> None:
    ladder = [Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.ADMIN]
    for weaker, stronger in itertools.pairwise(ladder):
        assert PERMISSIONS[weaker] < PERMISSIONS[stronger]
    assert PERMISSIONS[Role.ALERTMANAGER] == {Permission.WEBHOOK}
    assert set(PERMISSIONS) == set(Role)
    assert roles_with(Permission.APPROVE) == (Role.APPROVER, Role.ADMIN)
    assert Permission.WEBHOOK not in PERMISSIONS[Role.VIEWER]


@pytest.mark.parametrize("role", list(Role))
def test_created_and_authenticated(tokens: TokenStore, role: Role) -> None:
    principal = tokens.authenticate(tokens.create(role, "the name"))
    assert principal is not None
    assert (principal.role, principal.name) == (role, "the name")
    assert principal.actor == f"the name#{principal.id}"


def test_only_a_hash_is_stored(tokens: TokenStore, store: Store) -> None:
    token = tokens.create(Role.ADMIN)
    secret = token.split("_", 2)[2]
    with store.read() as connection:
        row = connection.execute(select(schema.tokens)).one()
    assert not any(secret in str(value) for value in row)
    assert len(secret) >= 43
    assert secret.encode() not in b"".join(path.read_bytes() for path in Path(store.place).parent.iterdir())


def test_no_two_tokens_are_equal(tokens: TokenStore) -> None:
    assert len({tokens.create(Role.VIEWER) for _ in range(20)}) == 20


def test_wrong_tokens(tokens: TokenStore) -> None:
    token = tokens.create(Role.ADMIN)
    head, id_, secret = token.split("_", 2)
    changed = secret[:-2] + ("AA" if not secret.endswith("AA") else "BB")
    wrong = [
        "", " ", "x", "uici_", f"uici_{id_}", f"uici_{id_}_", f"{head}_{id_}_{changed}", token + "x", token + "\n",
        " " + token, token.upper(), f"uici_{'0' * 12}_{secret}", f"uici_{id_}_{secret}\x00", "uici_%_%",
        "é" * 60, "\ud800",
    ]  # fmt: skip
    assert [each for each in wrong if tokens.authenticate(each) is not None] == []
    assert tokens.authenticate(token) is not None


def test_expiry_counts_even_when_the_token_is_remembered(tokens: TokenStore, time: Time) -> None:
    token = tokens.create(Role.VIEWER, expires=START + timedelta(hours=1))
    assert tokens.authenticate(token) is not None
    time.now += timedelta(minutes=59)
    assert tokens.authenticate(token) is not None
    time.now += timedelta(minutes=1)
    assert tokens.cached(token) is None
    assert tokens.authenticate(token) is None


def test_revocation_counts_at_once_in_this_process(store: Store, time: Time) -> None:
    tokens = TokenStore(store, now=time, cache_seconds=3600)
    token = tokens.create(Role.ADMIN)
    other = tokens.create(Role.ADMIN)
    principal = tokens.authenticate(token)
    assert principal is not None
    assert tokens.cached(token) == principal
    assert tokens.revoke(principal.id).revoked_at == START
    assert tokens.authenticate(token) is None
    assert tokens.authenticate(other) is not None
    time.now += timedelta(days=1)
    assert tokens.revoke(principal.id).revoked_at == START


def test_revocation_by_another_process_counts_after_the_cache_time(store: Store) -> None:
    here, there = TokenStore(store, cache_seconds=0.05), TokenStore(store)
    token = here.create(Role.ADMIN)
    assert here.authenticate(token) is not None
    there.revoke(there.list()[0].id)
    refused = threading.Event()
    for _ in range(500):
        if here.authenticate(token) is None:
            refused.set()
            break
        refused.wait(0.01)
    assert refused.is_set()


def test_unknown_id_to_revoke(tokens: TokenStore) -> None:
    with pytest.raises(Problem) as caught:
        tokens.revoke("nobody")
    assert caught.value.code == "unknown_token"


def test_a_token_that_would_be_expired_is_refused(tokens: TokenStore) -> None:
    with pytest.raises(Problem) as caught:
        tokens.create(Role.VIEWER, expires=START)
    assert caught.value.code == "token_already_expired"


@pytest.mark.parametrize("name", ["a\nb", "ab\n", "\x1b[31m", "x" * 65])
def test_names_that_would_disturb_a_log(tokens: TokenStore, name: str) -> None:
    with pytest.raises(Problem) as caught:
        tokens.create(Role.VIEWER, name)
    assert caught.value.code == "invalid_token_name"


def test_list_shows_nothing_secret(tokens: TokenStore) -> None:
    token = tokens.create(Role.APPROVER, "night shift", START + timedelta(days=1))
    (info,) = tokens.list()
    assert (info.name, info.role, info.created_at) == ("night shift", Role.APPROVER, START)
    assert token.split("_", 2)[2] not in info.model_dump_json()


def test_the_state_survives_a_restart(tokens: TokenStore, store: Store) -> None:
    token = tokens.create(Role.OPERATOR)
    assert TokenStore(store).authenticate(token) is not None


def test_reading_a_token_does_not_wait_for_a_writer(tokens: TokenStore, store: Store) -> None:
    token = tokens.create(Role.OPERATOR)
    with store.write() as connection:
        connection.execute(schema.tokens.update().values(name="held"))
        principal = tokens.authenticate(token)
    assert principal is not None
    assert principal.name == "operator"


def test_a_scope_is_kept(tokens: TokenStore) -> None:
    scope = Scope(environments=("prod",), targets=("shop-*",), highest_risk=Risk.MEDIUM)
    principal = tokens.authenticate(tokens.create(Role.OPERATOR, "ann", scope=scope))
    assert principal is not None
    assert principal.scope == scope
    assert [info.scope for info in tokens.list()] == [scope]


def test_a_rotated_token_goes_on_for_the_overlap_only(tokens: TokenStore, time: Time) -> None:
    scope = Scope(targets=("shop",))
    old = tokens.create(Role.OPERATOR, "ann", START + timedelta(days=30), scope)
    assert tokens.authenticate(old) is not None
    time.now += timedelta(days=10)
    rotated = tokens.rotate(old.split("_")[1], timedelta(hours=24))
    new = tokens.authenticate(rotated.token)
    assert new is not None
    assert (new.name, new.role, new.scope) == ("ann", Role.OPERATOR, scope)
    assert rotated.info.replaces == rotated.former.id == old.split("_")[1]
    assert rotated.info.expires_at == time.now + timedelta(days=30), "as long as the old one was made for"
    assert rotated.former.expires_at == time.now + timedelta(hours=24)
    time.now += timedelta(hours=23, minutes=59)
    assert tokens.authenticate(old) is not None
    time.now += timedelta(minutes=1)
    assert tokens.cached(old) is None
    assert tokens.authenticate(old) is None
    assert tokens.authenticate(rotated.token) is not None


def test_a_rotation_never_prolongs_the_old_token(tokens: TokenStore) -> None:
    old = tokens.create(Role.VIEWER, expires=START + timedelta(hours=1))
    rotated = tokens.rotate(old.split("_")[1], timedelta(days=7), timedelta(days=90))
    assert rotated.former.expires_at == START + timedelta(hours=1)
    assert rotated.info.expires_at == START + timedelta(days=90)


def test_a_rotation_without_overlap_revokes_at_once(tokens: TokenStore) -> None:
    old = tokens.create(Role.VIEWER)
    assert tokens.authenticate(old) is not None
    rotated = tokens.rotate(old.split("_")[1], timedelta())
    assert tokens.authenticate(old) is None
    assert rotated.former.revoked_at == START
    assert rotated.info.expires_at is None


def test_what_is_over_is_not_rotated(tokens: TokenStore, time: Time) -> None:
    revoked, expired = tokens.create(Role.VIEWER), tokens.create(Role.VIEWER, expires=START + timedelta(hours=1))
    tokens.revoke(revoked.split("_")[1])
    time.now += timedelta(hours=1)
    codes = []
    for id_ in (revoked.split("_")[1], expired.split("_")[1], "nobody"):
        with pytest.raises(Problem) as caught:
            tokens.rotate(id_, timedelta(hours=1))
        codes.append(caught.value.code)
    assert codes == ["token_is_over", "token_is_over", "unknown_token"]
    assert len(tokens.list()) == 2
