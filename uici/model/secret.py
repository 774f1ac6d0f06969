"""References to secrets. A reference may be written and shown; its value lives only where it is used."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_SYNTAX = re.compile(r"^\$\{(?P<provider>[a-z][a-z0-9-]*):(?P<locator>[^${}]+)\}$")


class SecretReference(str):
    """`${env:NAME}` or `${file:/path}`, kept as text until `uici.access` resolves it."""

    __slots__ = ()

    def __new__(cls, text: str) -> SecretReference:
        """Raises ValueError when `text` is not a reference: secrets are never written into configuration."""
        if not is_reference(text):
            raise ValueError("a secret is given by reference only: ${env:NAME} or ${file:/path}")
        return super().__new__(cls, text)

    @property
    def provider(self) -> str:
        """`env`, `file`, or the name of a third party's provider."""
        return _parts(self)[0]

    @property
    def locator(self) -> str:
        """What the provider looks up: a variable's name, a path."""
        return _parts(self)[1]


Secret = Annotated[str, AfterValidator(lambda text: str(SecretReference(text)))]
"""A setting that is given by reference only."""


def is_reference(text: str) -> bool:
    """Whether `text` as a whole is a secret reference."""
    return _SYNTAX.match(text) is not None


def _parts(text: str) -> tuple[str, str]:
    found = _SYNTAX.match(text)
    if found is None:
        raise ValueError("not a secret reference")
    return found["provider"], found["locator"]
