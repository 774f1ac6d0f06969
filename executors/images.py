"""Names of container images: their repository and their tag, the same on every platform that runs images."""

from __future__ import annotations

import re

_ID = re.compile(r"^((sha256:)?[0-9a-f]{64}|ocid1\..*)$")
"""What an image is called that has no name: a digest, or the OCID of an image of virtual machines."""


def repository_of(image: str) -> str | None:
    """`registry:5000/team/web` of `registry:5000/team/web:1.2@sha256:…`; None for a bare id."""
    if _ID.match(image):
        return None
    named = image.split("@", 1)[0]
    head, colon, last = named.rpartition(":")
    return head if colon and "/" not in last else named


def tag_of(image: str) -> str | None:
    """The tag of an image's name: `latest` when it has none; None for a bare id or digest."""
    repository = repository_of(image)
    if repository is None:
        return None
    named = image.split("@", 1)[0]
    if named != repository:
        return named[len(repository) + 1 :]
    return None if "@" in image else "latest"
