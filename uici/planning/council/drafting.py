"""A verb that a model found missing, as a file for people to finish: nothing reads it until they do."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from uici.catalogue.scaffold import NewVerb, text_of
from uici.model.call import Risk
from uici.planning.council.answers import MissingVerb
from uici.ports import Executor

_HEAD = "A draft by a model, for people to review. Nothing reads it here, and its test fails until it is finished."
_LONGEST_LINE = 200


def write_draft(
    folder: Path, run_id: str, verb: MissingVerb, because: str, platform: str, executors: Mapping[str, type[Executor]]
) -> Path:
    """Put the draft into the folder, for its owner's eyes only, and return its place. Raises OSError."""
    # Its risk and that it changes something are not for the model to say: who finishes it sets what is true.
    wanted = NewVerb(name=verb.name, summary=verb.summary, mutates=True, risk=Risk.DESTRUCTIVE, platforms=(platform,))
    comments = _comments(_HEAD, f"Why: {because}", f"How: {verb.how}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / f"{verb.name}-{run_id}.yml"
    descriptor, unfinished = tempfile.mkstemp(dir=folder, prefix=".draft-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(comments + text_of(wanted, executors))
    Path(unfinished).replace(file)
    return file


def _comments(*texts: str) -> str:
    """Lines of comment, of printable characters: whatever would end a comment ends a line here too."""
    lines = [re.sub(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd]", " ", line) for text in texts for line in text.splitlines()]
    return "".join(f"# {line[:_LONGEST_LINE]}\n" for line in lines)
