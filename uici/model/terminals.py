"""Foreign texts for a terminal or a line of a log: shown, never obeyed."""

from __future__ import annotations

import json
import re

from uici.model.base import JsonValue

# Escape sequences redraw a terminal or write into its input, the one-byte ones (0x80 to 0x9f) as well; marks of
# direction and characters without width make one text look like another. Tabs and line ends are harmless.
_OBEYED = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
_LINE_ENDS = re.compile(r"\r\n|[\n\r]")


def printable(text: str) -> str:
    """`text` without what a terminal would obey; what stood there is told as its number."""
    return _OBEYED.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def one_line(text: str) -> str:
    """As `printable`, in one line: nobody writes a second line of the log into a label."""
    return printable(_LINE_ENDS.sub(r"\\n", text))


def json_text(document: JsonValue, *, indent: int | None = None) -> str:
    """JSON that people can read and a terminal does not obey. It means the same as without the care."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(document, indent=indent, separators=separators, ensure_ascii=False, default=str)
    # All that is escaped here stands inside of texts, where JSON has a way to write it.
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
