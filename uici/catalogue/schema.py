"""JSON Schemas of the configuration files, for editors; derived from the types that check them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from uici.catalogue.overlaying import FILES, REMOVABLE
from uici.model.base import JsonObject
from uici.model.condition import TESTS
from uici.model.errors import Problem, ProblemKind, did_you_mean
from uici.model.guide import GuideHead
from uici.model.settings import PlatformFile
from uici.model.site import (
    EnvironmentsFile,
    FindingsFile,
    OperationsFile,
    PoliciesFile,
    StrategiesFile,
    TargetsFile,
    TranslationsFile,
    VerbFile,
)

VERB_FILE = "operations/<verb>.yml"
GUIDE_FILE = "guides/<name>.md"

MODELS: Mapping[str, type[BaseModel]] = {
    "platform.yml": PlatformFile,
    "environments.yml": EnvironmentsFile,
    "targets.yml": TargetsFile,
    "operations.yml": OperationsFile,
    "command_translations.yml": TranslationsFile,
    "findings.yml": FindingsFile,
    "strategies.yml": StrategiesFile,
    "policies.yml": PoliciesFile,
    VERB_FILE: VerbFile,
    GUIDE_FILE: GuideHead,
}

_NULL: Final[JsonObject] = {"type": "null"}
# What the types check in code, as far as a schema can say it.
_EXACTLY_ONE: Mapping[str, tuple[str, ...]] = {"Condition": TESTS, "Translation": ("calls", "unsupported")}


def json_schema(file_name: str) -> JsonObject:
    """The JSON Schema (2020-12) of one configuration file as a site writes it.

    Raises Problem (NOT_FOUND) for other names.
    """
    model = MODELS.get(file_name)
    if model is None:
        raise Problem(
            ProblemKind.NOT_FOUND,
            "unknown_file",
            f"no configuration file is called {file_name!r:.100}{did_you_mean(file_name, MODELS)}",
            allowed=MODELS,
        )
    schema: JsonObject = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **model.model_json_schema(mode="validation"),
        "title": file_name,
    }
    for name, keys in _EXACTLY_ONE.items():
        if name in schema.get("$defs", {}):
            schema["$defs"][name]["oneOf"] = [{"required": [key]} for key in keys]
    for section in FILES.get(file_name, ()):
        properties = schema["properties"]
        found = properties[section.name]
        if section.name in REMOVABLE:
            found = _removable(found, section.depth)
        # A section with everything below it commented out says nothing.
        properties[section.name] = {"anyOf": [found, _NULL]}
    return schema


def schema_files() -> dict[str, str]:
    """The schemas of all files as text, by the name of the file that holds them."""
    return {
        schema_file_name(name): json.dumps(json_schema(name), indent=1, ensure_ascii=False) + "\n" for name in MODELS
    }


def schema_file_name(file_name: str) -> str:
    """The name of the file that holds the schema of the configuration file `file_name`."""
    of_folders = {VERB_FILE: "verb", GUIDE_FILE: "guide"}
    return of_folders.get(file_name, file_name.removesuffix(".yml")) + ".schema.json"


def write_schemas(directory: Path) -> list[Path]:
    """Write every schema into `directory`, which is made when it is missing. Raises Problem (INVALID)."""
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in schema_files().items():
            (directory / name).write_text(text, encoding="utf-8")
            written.append(directory / name)
    except OSError as error:
        raise cannot_write(directory, error) from None
    return written


def cannot_write(directory: Path, error: OSError) -> Problem:
    """The Problem of files that cannot be written into `directory`."""
    return Problem(
        ProblemKind.INVALID,
        "cannot_write",
        f"{error.filename or directory} cannot be written: {error.strerror or error}",
        where=str(directory),
    )


def _removable(schema: JsonObject, depth: int) -> JsonObject:
    """Named entries of which `null` removes the shipped one."""
    entries = schema["additionalProperties"]
    if depth > 1:
        entries = _removable(entries, depth - 1)
    return {**schema, "additionalProperties": {"anyOf": [entries, _NULL]}}
