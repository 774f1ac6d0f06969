"""JSON Schemas of the configuration files, for editors; derived from the types that check them."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from uici.model.base import JsonObject
from uici.model.errors import Problem, ProblemKind, did_you_mean
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
}


def json_schema(file_name: str) -> JsonObject:
    """The JSON Schema (2020-12) of one configuration file. Raises Problem (NOT_FOUND) for other names."""
    model = MODELS.get(file_name)
    if model is None:
        raise Problem(
            ProblemKind.NOT_FOUND,
            "unknown_file",
            f"no configuration file is called {file_name!r:.100}{did_you_mean(file_name, MODELS)}",
            allowed=MODELS,
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": file_name,
        **model.model_json_schema(mode="validation"),
    }
