"""Markdown becomes HTML in which nothing acts, whatever was written. Each of the two layers is enough by itself."""

from html.parser import HTMLParser
from urllib.parse import urlsplit

import nh3
import pytest
from markdown_it import MarkdownIt

from tests.documents import blocks_of
from uici.catalogue import markdown
from uici.catalogue.locations import GUIDES, shipped_config
from uici.catalogue.markdown import html_of

TAGS = set("a blockquote br code em h1 h2 h3 h4 h5 h6 hr li ol p pre strong table tbody td th thead tr ul".split())
# OWASP's cheat sheet on evading filters, PortSwigger's, and what is known of Markdown renderers.
VECTORS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=https://evil.example/x.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    '<img src="javascript:alert(1)">',
    "<IMG SRC=`javascript:alert(1)`>",
    '<img """><script>alert("x")</script>"\\>',
    "<img src=x:alert(alt) onerror=eval(src) alt=0>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    '<svg><a xlink:href="javascript:alert(1)"><text x="20" y="20">x</text></a></svg>',
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    '<math href="javascript:alert(1)">x</math>',
    "<body onload=alert(1)>",
    '<iframe src="javascript:alert(1)"></iframe>',
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    '<object data="data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg=="></object>',
    '<embed src="data:image/svg+xml;base64,PHN2Zy8+">',
    '<form action="https://evil.example"><input type=submit></form>',
    "<button formaction=javascript:alert(1)>x</button>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<marquee onstart=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    '<a href="jav&#x09;ascript:alert(1)">x</a>',
    '<a href="&#106;&#97;&#118;&#97;&#115;&#99;&#114;&#105;&#112;&#116;&#58;alert(1)">x</a>',
    '<a href="java\0script:alert(1)">x</a>',
    '<a href="\x01javascript:alert(1)">x</a>',
    '<a href="vbscript:msgbox(1)">x</a>',
    '<a href="data:text/html,<script>alert(1)</script>">x</a>',
    "<a onmouseover=alert(1) href=#>x</a>",
    '<a href="https://x" style="position:fixed;inset:0" target=_top>x</a>',
    '<p style="background:url(javascript:alert(1))">x</p>',
    "<style>@import 'https://evil.example/x.css';</style>",
    '<link rel=stylesheet href="https://evil.example/x.css">',
    '<meta http-equiv="refresh" content="0;url=javascript:alert(1)">',
    '<base href="javascript:alert(1)//">',
    "<xss id=x tabindex=1 onfocus=alert(1)></xss>",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
    "<!--><img src=x onerror=alert(1)>-->",
    "<![CDATA[<img src=x onerror=alert(1)>]]>",
    "<?xml version=1?><img src=x onerror=alert(1)>",
    "</p><script>alert(1)</script><p>",
    "<textarea><img title='</textarea><img src=x onerror=alert(1)>'></textarea>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](&#x6A&#x61&#x76&#x61&#x73&#x63&#x72&#x69&#x70&#x74&#x3A;alert(1))",
    "[x](<java\nscript:alert(1)>)",
    "[x](<javascript:alert(1)>)",
    "[x]( javascript:alert(1))",
    "[x](java\\script:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](data:image/png;base64,iVBORw0KGgo=)",
    "[x](vbscript:msgbox(1))",
    "[x](file:///etc/passwd)",
    "[x](blob:https://x/1)",
    '[x](https://x"onmouseover="alert(1))',
    "[x](https://x 'a\" onmouseover=\"alert(1)')",
    "[x][1]\n\n[1]: javascript:alert(1)",
    "[x][1]\n\n[1]: https://x '\"><script>alert(1)</script>'",
    "<javascript:alert(1)>",
    "<data:text/html,x>",
    "![x](javascript:alert(1))",
    "![x](https://evil.example/seen.png)",
    '![x](https://x"onerror="alert(1))',
    "![\"onerror=\"alert(1)](x)",
    "`<script>alert(1)</script>`",
    "```\n</code></pre><script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\nx\n```',
    '```js" onmouseover="alert(1)\nx\n```',
    "    <script>alert(1)</script>",
    "| a |\n|---|\n| <img src=x onerror=alert(1)> |",
    "- <script>alert(1)</script>",
    "# <img src=x onerror=alert(1)>",
    "\\<script>alert(1)\\</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<scr\u0130pt>alert(1)</scr\u0130pt>",
    "\uff1cscript\uff1ealert(1)\uff1c/script\uff1e",
    "[x](ja\u200bvascript:alert(1))",
]  # fmt: skip


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.others: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def handle_decl(self, decl: str) -> None:
        self.others.append(decl)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)


def acting(text: str) -> list[str]:
    """What in this HTML could act, fetch, or be laid over a page."""
    page = Page(text)
    found = [*page.others]
    for tag, attributes in page.tags:
        found += [tag] if tag not in TAGS else []
        for name, value in attributes.items():
            if (tag, name) not in {("a", "href"), ("a", "title"), ("a", "rel"), ("ol", "start")}:
                found.append(f"{tag} {name}")
            if name == "href" and urlsplit((value or "").strip()).scheme.lower() not in ("", "http", "https", "mailto"):
                found.append(f"{tag} {name}={value}")
    return found


@pytest.mark.parametrize("vector", VECTORS)
def test_nothing_acts(vector: str) -> None:
    assert acting(html_of(vector)) == []
    assert acting(html_of(f"Before.\n\n{vector}\n\nAfter, with **{vector}** in it.")) == []


@pytest.mark.parametrize("vector", VECTORS)
def test_the_sanitiser_alone_is_enough(vector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markdown, "_renderer", lambda: MarkdownIt("commonmark", {"html": True}).enable("table"))
    assert acting(html_of.__wrapped__(vector)) == []


@pytest.mark.parametrize("vector", VECTORS)
def test_the_renderer_alone_lets_no_html_through(vector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nh3, "clean", lambda text, **_: text)
    # Of a language it makes a class; pictures as data and blobs stay links. Both are for the other layer.
    left = ("code class", "data:image", "blob:")
    found = [each for each in acting(html_of.__wrapped__(vector)) if not any(known in each for known in left)]
    assert found == []


def test_the_vectors_do_something_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    careless = MarkdownIt("commonmark", {"html": True})
    monkeypatch.setattr(careless, "validateLink", lambda _: True)
    assert sum(bool(acting(careless.render(vector))) for vector in VECTORS) > len(VECTORS) * 0.7


def test_what_is_meant_stays() -> None:
    text = "# A\n\nSee [here](https://x.example/y?a=1&b=2 'T') or [mail](mailto:a@b.c), then `a < b`.\n\n"
    text += "3. three\n4. four\n\n| a | b |\n|---|---|\n| 1 | *2* |\n\n> **so**\n\n---\n\n```sh\nls -l > x\n```\n"
    html = html_of(text)
    link = '<a href="https://x.example/y?a=1&amp;b=2" title="T" rel="nofollow noopener noreferrer">here</a>'
    for part in (
        "<h1>A</h1>", link, "<code>a &lt; b</code>", '<ol start="3">', "<td><em>2</em></td>", "<strong>so</strong>",
        "<hr>", "<pre><code>ls -l &gt; x\n</code></pre>",
    ):  # fmt: skip
        assert part in html
    assert html_of("![a picture](https://x.example/p.png)").startswith("<p>!<a href=")


def test_the_shipped_guides_are_rendered() -> None:
    for path in (shipped_config() / GUIDES).glob("*.md"):
        assert list(blocks_of(path.name, path.read_text())) == []  # commands stand in lines, where a test reads them
        html = html_of(path.read_text().split("---\n", 2)[2])
        assert acting(html) == []
        assert html.startswith("<h1>")
        assert "<code>uici " in html or "<code>openssl " in html or "pg_stat" in html
