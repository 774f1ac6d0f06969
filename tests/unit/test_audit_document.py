"""docs/audit.md lists every kind of entry that the audit log may have, and none that it may not."""

from __future__ import annotations

import re

from tests.real.components import REPOSITORY
from uici.audit.chain import CUT
from uici.events.decisions import DECISIONS

WORD = r'"([a-z]+(?:_[a-z]+)+)"'
PATTERNS = {
    "uici/access/tokens.py": rf"_entry\(now, {WORD}",
    "uici/audit/denials.py": rf"Entry\(at=now, kind={WORD}",
    "uici/bootstrap/application.py": rf"Entry\([^)]*\(\), kind={WORD}",
    "uici/notify/delivery.py": rf"(?:kind = |if state is DeliveryState\.SENT else ){WORD}",
}
"""Where entries are made beside events and the chain itself -> how their kinds are written there."""
KNOWN = {"uici/events/decisions.py", "uici/audit/chain.py", *PATTERNS}
DENIALS = {"authentication_failed", "permission_denied"}
"""Their kind is given by who turns somebody away."""


def test_every_kind_of_entry_is_listed() -> None:
    sources = {path.relative_to(REPOSITORY).as_posix(): path.read_text() for path in REPOSITORY.glob("uici/**/*.py")}
    makers = {name for name, text in sources.items() if re.search(r"(?<!class )\bEntry\(", text)}
    assert makers == KNOWN, "say here how the kinds of entries are written that a new place makes"
    kinds = set(DECISIONS) | {CUT} | DENIALS
    for name, pattern in PATTERNS.items():
        found = set(re.findall(pattern, sources[name]))
        assert found, f"no kind of entry is found in {name}"
        kinds |= found
    for kind in DENIALS:
        assert any(f'"{kind}"' in text for name, text in sources.items() if name.startswith("uici/service/")), kind
    page = (REPOSITORY / "docs/audit.md").read_text()
    table = page[page.index("| kind | tells of |") : page.index("An entry is written in the transaction")]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", "".join(rows))) == kinds
