"""Markdown as HTML that can be shown in any page: what was written as HTML is text, and what could act is gone.

Two layers, each of which is enough: the renderer takes no HTML and no image, and the sanitiser lets only these
elements through, whatever the renderer made.
"""

from __future__ import annotations

from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING

import nh3

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_TAGS = frozenset(
    "a blockquote br code em h1 h2 h3 h4 h5 h6 hr li ol p pre strong table tbody td th thead tr ul".split()
)
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_SCHEMES = {"http", "https", "mailto"}


def _renderer() -> MarkdownIt:
    from markdown_it import MarkdownIt  # here, because a server starts long before anybody reads a guide

    # An image of another host would tell it who reads what, and when.
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


@lru_cache(maxsize=64)
def html_of(markdown: str) -> str:
    """`markdown` (CommonMark, with tables) as a part of an HTML document."""
    # Made anew each time: the renderer is not for several threads.
    return nh3.clean(
        _renderer().render(markdown),
        tags=set(_TAGS),
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        link_rel="nofollow noopener noreferrer",
    )


def page_of(title: str, markdown: str) -> str:
    """A whole HTML document of it, for a file of its own. Nothing is loaded by it either."""
    return (
        '<!doctype html>\n<html>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">\n'
        f"<title>{escape(title)}</title>\n{html_of(markdown)}</html>\n"
    )
