"""The chain of the audit log: what is proved, and each way in which it could be broken."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from uici.audit.chain import Seal, cut, head, record, seal_with
from uici.audit.entries import MOST_BYTES, Entry, canonical, hash_of, shown
from uici.audit.verifying import Report, lines_of, rows, verify_lines, verify_stored
from uici.model.masking import MASK
from uici.store.audited import PROTECTION
from uici.store.database import Store

AT = datetime(2026, 1, 1, tzinfo=UTC)
COUNT = 1200
"""More than are read at once."""


def entry(number: int, /, **data: object) -> Entry:
    return Entry(at=AT + timedelta(minutes=number), kind="guarded", actor="ann#1", run=f"run_{number}", data=data)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'state.db'}")
    store.migrate()
    yield store
    store.close()


def fill(store: Store, count: int = 6) -> None:
    with store.write() as connection:
        record(connection, *(entry(number, number=number) for number in range(1, count + 1)))


def verified(store: Store, seal: Seal | None = None, expect: tuple[int, str] | None = None) -> Report:
    with store.read() as connection:
        return verify_stored(connection, seal, expect)


def exported(store: Store) -> list[str]:
    with store.read() as connection:
        return [json.dumps(shown(row), ensure_ascii=False) for row in rows(connection)]


def tamper(store: Store, *statements: str) -> None:
    """As somebody with the database's file does who knows of its triggers."""
    with sqlite3.connect(store.place) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_a_chain_of_several_transactions_is_proved(store: Store) -> None:
    fill(store, COUNT)
    with store.write() as connection:
        record(connection, entry(COUNT + 1))
    report = verified(store)
    assert (report.problem, report.entries, report.first, report.last) == (None, COUNT + 1, 1, COUNT + 1)
    assert verify_lines(exported(store)).problem is None
    assert verify_lines(exported(store)[300:700]).entries == 400


def test_an_empty_log_is_proved(store: Store) -> None:
    assert verified(store).good
    assert verified(store, Seal("key")).good


TAMPERINGS: dict[str, tuple[tuple[str, ...], str]] = {
    "data": (("UPDATE audit SET data = '{}' WHERE seq = 3",), "entry 3 was changed"),
    "actor": (("UPDATE audit SET actor = 'bob#2' WHERE seq = 3",), "entry 3 was changed"),
    "time": (("UPDATE audit SET at = 'yesterday' WHERE seq = 3",), "entry 3 was changed"),
    "type": (("UPDATE audit SET actor = x'00ff' WHERE seq = 3",), "entry 3 was changed"),
    "environment": (("UPDATE audit SET environment = 'prod' WHERE seq = 6",), "entry 6 was changed"),
    "deleted": (("DELETE FROM audit WHERE seq = 3",), "entry 3 is missing"),
    "deleted several": (("DELETE FROM audit WHERE seq IN (3, 4)",), "entries 3 to 4 are missing"),
    "deleted and renumbered": (
        ("DELETE FROM audit WHERE seq = 3", *(f"UPDATE audit SET seq = {seq - 1} WHERE seq = {seq}" for seq in (4, 5))),
        "entry 3 was changed",
    ),
    "front": (("DELETE FROM audit WHERE seq <= 2",), "entries 1 to 2 are missing"),
    "front, with the head": (
        ("DELETE FROM audit WHERE seq <= 2", "UPDATE audit_head SET cut_seq = 2, cut_hash = (SELECT previous FROM audit"
         " WHERE seq = 3)"),
        "the front was removed",
    ),
    "end": (("DELETE FROM audit WHERE seq = 6",), "entry 6 is missing at the end"),
    "swapped": (
        ("UPDATE audit SET seq = 99 WHERE seq = 3", "UPDATE audit SET seq = 3 WHERE seq = 4",
         "UPDATE audit SET seq = 4 WHERE seq = 99"),
        "entry 3 was changed",
    ),
    "beyond": (("INSERT INTO audit SELECT 7, at, kind, actor, incident_id, run_id, environment, target, data, previous,"
                " hash FROM audit WHERE seq = 6",), "beyond the head"),
    "head": (("UPDATE audit_head SET hash = previous FROM audit WHERE audit.seq = 6",), "the head does not have"),
    "emptied": (("DELETE FROM audit",), "entries 1 to 6 are missing at the end"),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERINGS)
def test_what_was_tampered_with_is_found(store: Store, what: str) -> None:
    fill(store)
    assert verified(store).good
    statements, problem = TAMPERINGS[what]
    tamper(store, *statements)
    report = verified(store)
    assert not report.good
    assert problem in str(report.problem), report


def _rewrite(lines: list[str], change: Callable[[list[dict[str, object]]], object]) -> list[str]:
    documents = [json.loads(line) for line in lines]
    change(documents)
    return [json.dumps(document) for document in documents]


FILE_TAMPERINGS: dict[str, tuple[Callable[[list[dict[str, object]]], object], str]] = {
    "changed": (lambda documents: documents[2].update(actor="bob"), "line 3: entry 3 was changed"),
    "removed": (lambda documents: documents.pop(2), "line 3: entry 3 is missing"),
    "moved": (lambda documents: documents.insert(1, documents.pop(3)), "line 2: entries 2 to 3 are missing"),
    "twice": (lambda documents: documents.insert(1, documents[0]), "line 2: entry 1 comes after entry 1"),
    "more": (lambda documents: documents[2].update(more=1), "line 3 is not an entry"),
    "less": (lambda documents: documents[2].pop("run"), "line 3 is not an entry"),
    "other type": (lambda documents: documents[2].update(seq="3"), "line 3 is not an entry"),
    "no link": (lambda documents: documents[2].update(_rehashed(documents[2])), "line 3: entry 3 does not follow"),
}


def _rehashed(document: dict[str, object]) -> dict[str, object]:
    row = {**document, "previous": "f" * 64, "data": canonical(document["data"])}
    row |= {"incident_id": document["incident"], "run_id": document["run"]}
    return {"previous": "f" * 64, "hash": hash_of(row)}


@pytest.mark.parametrize("what", FILE_TAMPERINGS)
def test_an_export_that_was_tampered_with_is_found(store: Store, what: str) -> None:
    fill(store)
    change, problem = FILE_TAMPERINGS[what]
    report = verify_lines(_rewrite(exported(store), change))
    assert problem in str(report.problem), report


@pytest.mark.parametrize("line", ["{", "[]", "1", '{"seq": 1}', "[" * 5000])
def test_a_line_that_is_no_entry_is_named(line: str) -> None:
    assert "line 1 is not an entry" in str(verify_lines([line]).problem)


def test_a_file_without_lines_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_text("x" * 3_000_000)
    with path.open() as stream, pytest.raises(ValueError, match="not an export"):
        list(lines_of(stream))


def test_a_rewritten_log_is_found_by_a_head_that_was_noted_elsewhere(store: Store) -> None:
    fill(store)
    with store.read() as connection:
        noted = head(connection)
    expect = (noted.seq, noted.hash)
    fill(store, 2)
    assert verified(store, expect=expect).good
    # All of it made anew, as a program that knows the form can; by itself it is without fault.
    tamper(store, "DELETE FROM audit", "DELETE FROM audit_head")
    with store.write() as connection:
        record(connection, *(entry(number, number="other") for number in range(1, 9)))
    assert verified(store).good
    assert "entry 6 is not the one that was expected" in str(verified(store, expect=expect).problem)
    assert "entry 6 is not the one" in str(verify_lines(exported(store), expect).problem)
    # And the end cut off together with the head.
    tamper(store, "DELETE FROM audit WHERE seq > 3", "UPDATE audit_head SET seq = 3, hash = (SELECT hash FROM audit "
           "WHERE seq = 3)")  # fmt: skip
    assert verified(store).good
    assert "is not there: the end was cut off" in str(verified(store, expect=expect).problem)


def test_without_the_key_neither_a_rewritten_nor_a_shortened_log_can_be_sealed(store: Store) -> None:
    seal = seal_with(store, "the key")
    fill(store)
    assert verified(store, seal).good
    tamper(store, "DELETE FROM audit WHERE seq > 3", "UPDATE audit_head SET seq = 3, hash = (SELECT hash FROM audit "
           "WHERE seq = 3)")  # fmt: skip
    assert verified(store).good
    assert "seal is not the key's" in str(verified(store, seal).problem)
    assert "sealed with another key" in str(verified(store, Seal("another")).problem)
    tamper(store, "UPDATE audit_head SET seal = NULL, key_id = NULL")
    assert "is not sealed" in str(verified(store, seal).problem)


def test_the_database_itself_refuses_to_change_or_delete(store: Store) -> None:
    fill(store)
    for statement in (
        "UPDATE audit SET actor = 'x' WHERE seq = 1", "DELETE FROM audit WHERE seq = 6", "DELETE FROM audit",
        "UPDATE audit_head SET seq = 2", "DELETE FROM audit_head",
    ):  # fmt: skip
        with pytest.raises(IntegrityError, match="audit log"), store.write() as connection:
            connection.exec_driver_sql(statement)
    assert verified(store).good
    assert len(PROTECTION["postgresql"]) == 9


def test_the_oldest_part_can_be_cut_off_and_what_is_left_is_proved(store: Store) -> None:
    seal = seal_with(store, "the key")
    fill(store, 20)
    noted = {number: json.loads(line)["hash"] for number, line in enumerate(exported(store), 1)}
    for before, most, gone, left in ((10, 4, 4, 17), (10, 100, 5, 13), (10, 100, 0, 13), (100, 100, 11, 3)):
        with store.write() as connection:
            moment = AT + timedelta(days=1)
            assert cut(connection, AT + timedelta(minutes=before), moment, actor="retention", most=most) == gone
        report = verified(store, seal)
        assert (report.problem, report.entries) == (None, left), report
    assert verified(store, seal, (3, noted[3])).good
    assert verified(store, seal, (3, noted[3])).notes
    kinds = [json.loads(line)["kind"] for line in exported(store)]
    assert kinds == ["audit_cut"] * 3
    told = json.loads(exported(store)[-1])
    assert told["actor"] == "retention"
    assert told["data"]["through"] == 20
    assert told["data"]["hash"] == noted[20]


def test_a_transaction_that_fails_leaves_no_entry(store: Store) -> None:
    fill(store)

    def failing() -> None:
        with store.write() as connection:
            record(connection, entry(7))
            connection.exec_driver_sql("DELETE FROM audit")

    with pytest.raises(IntegrityError):
        failing()
    fill(store, 1)
    assert verified(store).last == 7


def test_data_are_masked_and_bounded(store: Store) -> None:
    with store.write() as connection:
        record(connection, entry(1, password="hunter22", reason="x" * 100_000, comment="token=abcdef"))
    (line,) = exported(store)
    data = json.loads(line)["data"]
    assert data["password"] == MASK
    assert data["comment"] == f"token={MASK}"
    assert "characters left out" in data["reason"]
    assert len(line) < MOST_BYTES + 1000
    assert verified(store).good
    assert verify_lines([line]).good


# The examples of RFC 8785, sections 3.2.2 and 3.2.3, but for numbers that are not whole.
def test_the_form_is_that_of_the_standard() -> None:
    text = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"\u002f"
    assert canonical({"string": text, "literals": [None, True, False]}) == (
        '{"literals":[null,true,false],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    ordered = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical(dict.fromkeys(names, 1)))) == ordered


@pytest.mark.parametrize(
    ("value", "written"),
    [(1.0, "1"), (0.5, '"0.5"'), (2**60, '"1152921504606846976"'), (float("nan"), '"nan"'), ("\ud800", '"?"'),
     ((1, True), "[1,true]"), ({1: 2}, '{"1":2}'), (1e300, '"1e+300"')],
)  # fmt: skip
def test_what_not_every_language_reads_alike_is_written_as_text(value: object, written: str) -> None:
    assert canonical(value) == written
    assert canonical(json.loads(written)) == written
