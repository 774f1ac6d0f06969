"""Equality matchers for a PromQL query, added where its author wrote braces. Values are quoted, never interpreted.

Outside of strings and comments, braces in PromQL are selectors and nothing else
(https://prometheus.io/docs/prometheus/latest/querying/basics/), so finding them needs no parser of expressions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)|(?P<comment>\#[^\n]*)|(?P<brace>[{}])|(?P<rest>[^"'`\#{}]+|.)""",
    re.DOTALL | re.VERBOSE,
)
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)


def quoted(text: str) -> str:
    """`text` as a PromQL string: Go's double-quoted strings know the escapes that JSON writes."""
    return json.dumps(text, ensure_ascii=False)


def narrowed(query: str, labels: Mapping[str, str]) -> str:
    """`query` with `labels` as further equality matchers in every selector that is written with braces.

    Raises ValueError when there are labels but no braces, when a name is no label's, or when texts or braces do not
    close.
    """
    for name in labels:
        if _LABEL.fullmatch(name) is None or name == "__name__":
            raise ValueError(f"{name!r:.100} is not the name of a label to match")
    added = ", ".join(f"{name}={quoted(value)}" for name, value in labels.items())
    pieces = _pieces(query)
    if labels and len(pieces) == 1:
        raise ValueError("labels are added inside braces, and the query has none: write for example up{}")
    # Every second piece is what stands between braces. A trailing comma is allowed there, a doubled one is not.
    for index in range(1, len(pieces), 2):
        inside = pieces[index].rstrip()
        comma = ", " if inside.strip() and added and not inside.endswith(",") else ""
        pieces[index] = f"{{{inside}{comma}{added}}}"
    return "".join(pieces)


def _pieces(query: str) -> list[str]:
    """What stands outside of braces, and what inside, in turn; comments inside would swallow what is added."""
    pieces = [""]
    for token in _TOKEN.finditer(query):
        inside = len(pieces) % 2 == 0
        if token["rest"] in ('"', "'", "`"):
            raise ValueError("the query has a text that never ends")
        if token["brace"]:
            if inside is (token["brace"] == "{"):
                raise ValueError(f"the query has a {token['brace']!r} where none can stand")
            pieces.append("")
        elif not (inside and token["comment"]):
            pieces[-1] += token[0]
    if len(pieces) % 2 == 0:
        raise ValueError("the query opens a brace that it never closes")
    return pieces
