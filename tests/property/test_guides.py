"""Whatever a guide's file holds: it is a guide, or what is wrong with it is told; and its HTML never acts."""

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.test_markdown import VECTORS, acting
from uici.catalogue.diagnostics import Report
from uici.catalogue.guide_search import GuideIndex
from uici.catalogue.guides import read_guides
from uici.catalogue.markdown import html_of

PIECES = [
    b"---\n",
    b"--- \r\n",
    b"title: T\n",
    b"alerts: ['a=\"b\"']\n",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\0",
    b"tags: [",
    b"# H\n",
]
FILES = st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=8).map(b"".join)
TEXTS = st.lists(
    st.sampled_from([*VECTORS, "[", "](", "<", ">", "`", "\n\n", "> ", "- ", "|", "&", "\\", '"'])
    | st.text(max_size=10),
    max_size=12,
).map("".join)


@given(FILES)
@example(b"---\ntitle: T\n---\n")
@example(b"---\ntitle: T\n---")
@example(b"\xef\xbb\xbf---\r\ntitle: T\r\n---\r\ntext")
@settings(max_examples=150, deadline=None)
def test_a_file_is_a_guide_or_says_why_not(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "g.md")
        path.write_bytes(content)
        report = Report()
        found = read_guides([str(path)], report)
    assert bool(found) is not bool(report) or not content.strip()
    for problem in report:
        assert 1 <= problem.line <= content.count(b"\n") + 1, problem
    if found:
        assert GuideIndex(found).found("title") is not None


@given(TEXTS)
@settings(max_examples=150, deadline=None)
def test_no_text_acts(text: str) -> None:
    assert acting(html_of(text)) == []
