"""What of a state's URL is UICI itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from uici.bootstrap.identity import discover


@pytest.mark.parametrize(
    ("state", "addresses", "named"),
    [
        ("postgresql://uici@uici-db/uici", {"uici-db:5432"}, "uici-db"),
        ("postgresql://uici@DB.example:6000/uici", {"db.example:6000"}, None),
        ("postgresql://uici@10.0.0.5:6000/uici", {"10.0.0.5:6000"}, None),
        ("postgresql://uici@/uici?host=one:1&host=two:2", {"one:1", "two:2"}, "two"),
        ("postgresql://uici@/uici?host=one", {"one:5432"}, "one"),
        (
            "postgresql://uici@localhost:7000/uici",
            {"localhost:7000", "127.0.0.1:7000", "::1:7000", "[::1]:7000"},
            None,
        ),
    ],
)
def test_the_server_of_the_state_is_uici_itself(state: str, addresses: set[str], named: str | None) -> None:
    identity = discover(("uici",), state)
    assert identity.state_addresses == frozenset(addresses)
    for address in addresses:
        assert identity.is_target(["web"], {"program": "web", "health": {"tcp": address}}) == address
    hosts = {"uici-db", "db.example", "10.0.0.5", "localhost", "one", "two"}
    assert {host for host in hosts if identity.is_named_by([host])} >= ({named} if named else set())
    if named is None:
        assert not [host for host in hosts if identity.is_named_by([host])]
    assert identity.state_paths == frozenset()


def test_the_file_of_the_state_is_uici_itself(tmp_path: Path) -> None:
    identity = discover(("uici",), f"sqlite:///{tmp_path / 'uici.db'}")
    assert identity.state_paths == frozenset({str(tmp_path / "uici.db")})
    assert identity.state_addresses == frozenset()
