"""The starter tree that `uici init` writes: real files that ship with UICI, and an alert to try them with."""

from __future__ import annotations

import os
from pathlib import Path

from uici.catalogue.locations import shipped_config
from uici.catalogue.schema import cannot_write, write_schemas
from uici.model.errors import Problem, ProblemKind

SCHEMAS = ".schemas"
"""The folder of the JSON Schemas beside a site's files: the first line of each file leads editors there."""

_SHIPPED_SCHEMAS, _OWN_SCHEMAS = b"$schema=../../schemas/", b"$schema=.schemas/"


def starter_files() -> dict[str, Path]:
    """The starter's files by their path inside the folder to be written."""
    source = shipped_config() / "starter"
    found = (*source.rglob("*.yml"), *source.rglob("*.json"))
    return {path.relative_to(source).as_posix(): path for path in sorted(found)}


def write_starter(directory: Path) -> list[Path]:
    """Write the starter tree into `directory`, which is made when it is missing, and return the files written.

    Raises Problem (CONFLICT) when one of the files is there already, and (INVALID) when the folder cannot be
    written to; nothing that exists is ever overwritten.
    """
    files = starter_files()
    # Unlike Path.exists, false also for what may not be looked at; writing says so then.
    present = [name for name in files if os.path.exists(directory / name)]
    if present:
        raise Problem(
            ProblemKind.CONFLICT,
            "files_exist",
            f"{directory} already holds {', '.join(present)}",
            where=str(directory),
            hint="choose an empty folder, or move these files away",
        )
    written: list[Path] = []
    try:
        for name, source in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as stream:
                stream.write(source.read_bytes().replace(_SHIPPED_SCHEMAS, _OWN_SCHEMAS, 1))
            written.append(path)
        write_schemas(directory / SCHEMAS)
        # Where the shipped defaults keep the store and what the executors own.
        (directory / "state").mkdir(exist_ok=True)
    except OSError as error:
        raise cannot_write(directory, error) from None
    return written
