"""Copies of a PostgreSQL state by PostgreSQL's own programs.

They take a password from where libpq finds it (PGPASSWORD, PGPASSFILE), as UICI itself does; none is ever an argument.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from uici.model.errors import Problem, ProblemKind
from uici.store.schema import metadata

_ENGINES_SCHEMA = "dbos"
COPIES = "uici_schema"
"""How the names of schemas begin that hold the tables of before a migration."""


def dump(place: str, file: Path) -> None:
    """Write the whole database as it is at one moment; the dump is read once to see that it can be. Raises Problem."""
    _run("pg_dump", ["--format=custom", f"--exclude-schema={COPIES}*", f"--file={file}", place])
    check_dump(file)


def check_dump(file: Path) -> None:
    """Raises Problem for a file that cannot be read from its beginning to its end."""
    _run("pg_restore", ["--file=/dev/null", str(file)])


def versions_in(file: Path) -> dict[str, str]:
    """What the dump's table of versions holds. Raises Problem."""
    shown = _run("pg_restore", ["--data-only", "--table=uici_meta", "--file=-", str(file)])
    _, _, rows = shown.partition("FROM stdin;\n")
    return dict(line.split("\t", 1) for line in rows.partition("\\.\n")[0].splitlines())


def put_back(place: str, file: Path, then: str) -> None:
    """Replace the tables of the database by those of the dump, and carry out `then`, in one transaction.

    Raises Problem, and has changed nothing then.
    """
    gone = [f'DROP TABLE IF EXISTS "{table.name}" CASCADE' for table in metadata.sorted_tables]
    before = "; ".join([*gone, f'DROP SCHEMA IF EXISTS "{_ENGINES_SCHEMA}" CASCADE'])
    # Written out first: a script that broke off half way would be committed half way.
    with tempfile.TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as folder:
        script = Path(folder) / "script.sql"
        _run("pg_restore", ["--clean", "--if-exists", "--no-owner", f"--file={script}", str(file)])
        _run(
            "psql",
            [
                "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", "--output=/dev/null",
                "--command=SET client_min_messages = warning", f"--command={before}", f"--file={script}",
                # The script leaves it empty.
                "--command=RESET search_path", f"--command={then}", place,
            ],
        )  # fmt: skip


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Problem(
            ProblemKind.UNPROCESSABLE,
            "program_missing",
            f"{name} is not installed",
            where="PATH",
            hint="install PostgreSQL's client programs of the server's version or newer (Debian: postgresql-client)",
        )
    return found


def _run(name: str, arguments: Sequence[str]) -> str:
    done = subprocess.run(  # noqa: S603 - a fixed program; its arguments are no shell's
        [_program(name), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Problem(
            ProblemKind.UNAVAILABLE,
            "dump_failed",
            f"{name} failed: {done.stderr.strip()[-2000:]}",
            hint="nothing was changed; see what it says",
        )
    return done.stdout
