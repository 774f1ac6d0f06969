"""What a check-up sees of the state: a file of this machine, or a database that several processes share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Row, text
from sqlalchemy.exc import SQLAlchemyError

from uici.access.roles import Role
from uici.access.tokens import TokenStore
from uici.model.checkup import Check, fail, ok, skip, warn
from uici.model.errors import Problem
from uici.model.settings import DoctorSettings
from uici.store.database import Store
from uici.store.migrations import version_of
from uici.store.postgres import CONNECTIONS

# Settings of the server: https://www.postgresql.org/docs/current/runtime-config.html
_SERVER = text(
    "SELECT current_setting('server_version') AS version, clock_timestamp() AS now,"
    " current_setting('max_connections')::int AS connections, current_setting('fsync') AS fsync,"
    " current_setting('synchronous_standby_names') AS standbys, pg_is_in_recovery() AS standby,"
    " has_database_privilege(current_database(), 'CREATE') AS schemas,"
    " has_schema_privilege(current_schema(), 'CREATE') AS tables, current_user AS who"
)

_NO_TOKENS = warn("tokens", "there is no state yet, so there are none", "uici token create --role alertmanager")


def check_state(url: str, limits: DoctorSettings) -> Iterator[Check]:
    """Every check of the state at `url`; nothing is made or changed."""
    if sqlalchemy.make_url(url).get_backend_name() == "sqlite":
        yield from _file(url, limits)
    else:
        yield from _server(url, limits)


def _server(url: str, limits: DoctorSettings) -> Iterator[Check]:
    try:
        store = Store(url)
    except Problem as problem:
        yield fail("state", problem.detail, problem.hint)
        return
    try:
        asked = datetime.now(UTC)
        with store.read() as connection:
            seen = connection.execute(_SERVER).one()
            begun = version_of(connection) is not None
        yield from _settings(store.place, seen, (seen.now.astimezone(UTC) - asked).total_seconds(), limits)
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", error)).strip()
        yield fail("state", f"{store.place} cannot be used: {cause}", "is the server up, and may this user connect?")
        return
    finally:
        store.close()
    yield _tokens(url) if begun else _NO_TOKENS


def _settings(place: str, seen: Row[Any], skew: float, limits: DoctorSettings) -> Iterator[Check]:
    if seen.standby:
        yield fail("state", f"{place} is a standby, which cannot be written", "give the primary's address")
    elif not (seen.schemas and seen.tables):
        hint = f"GRANT CREATE ON DATABASE and ON SCHEMA public TO {seen.who}: the engine's tables have their own schema"
        yield fail("state", f"{place}: {seen.who} may not make tables", hint)
    else:
        yield ok("state", f"{place} may be written; PostgreSQL {seen.version}")
    if seen.fsync != "on":
        yield warn("durability", "fsync is off: a crash of the server's machine loses the state", "switch it on")
    elif not seen.standbys:
        hint = "name one in synchronous_standby_names where the server's machine may be lost for good"
        yield ok("durability", f"commits are on the server's disk; there is no synchronous standby ({hint})")
    else:
        yield ok("durability", f"commits are on the server's disk and on a synchronous standby ({seen.standbys})")
    processes = seen.connections // CONNECTIONS
    told = f"{seen.connections} are allowed, each process of UICI takes up to {CONNECTIONS}"
    if processes < 1:
        yield fail("connections", told, "raise max_connections")
    else:
        yield ok("connections", f"{told}: room for {processes}")
    if abs(skew) > limits.clock_skew_seconds:
        yield warn("state's clock", f"{skew:+.1f} s from this machine's", "UICI goes by it; set this machine's right")
    else:
        yield ok("state's clock", f"{skew:+.1f} s from this machine's")


def _file(url: str, limits: DoctorSettings) -> Iterator[Check]:
    path = Path(sqlalchemy.make_url(url).database or "")
    place = next(each for each in (path.parent, *path.parents) if each.exists())
    user = os.geteuid()
    if not os.access(place, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        yield fail("state", f"{path} may not be written by user {user}", f"let user {user} write to it")
    else:
        yield ok("state", f"{path} may be written" + ("" if path.exists() else "; it is made at the first start"))
    free = shutil.disk_usage(place).free
    seen = f"{_bytes(free)} free at {place}"
    if free < limits.free_bytes / 10:
        yield fail("disk", seen, "make room: what cannot be committed is refused with 503")
    elif free < limits.free_bytes:
        yield warn("disk", seen, "make room before nothing can be committed any more")
    else:
        yield ok("disk", seen)
    if not path.exists():
        yield skip("journal", "there is no state yet")
        yield _NO_TOKENS
        return
    size = sum(each.stat().st_size for each in (path, Path(f"{path}-wal")) if each.exists())
    if size > limits.journal_bytes:
        yield warn("journal", f"{_bytes(size)}", "shorten runs.journal_seconds in platform.yml, or move the state away")
    else:
        yield ok("journal", _bytes(size))
    yield _tokens(url)


def _tokens(url: str) -> Check:
    # Opened as it is: a check-up does not make tables.
    store = Store(url)
    try:
        usable = [token for token in TokenStore(store).list() if token.revoked_at is None]
    except SQLAlchemyError as error:
        return fail("tokens", f"the state cannot be read: {type(error).__name__}", "is it a state of this version?")
    finally:
        store.close()
    if not usable:
        return warn("tokens", "there are none", "uici token create --role alertmanager; uici token create --role admin")
    if not any(token.role is Role.ALERTMANAGER for token in usable):
        return warn("tokens", f"{len(usable)}, none for Alertmanager", "uici token create --role alertmanager")
    return ok("tokens", f"{len(usable)} are in force")


def _bytes(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
