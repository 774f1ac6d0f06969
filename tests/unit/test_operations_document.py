"""The tables in docs/operations.md are the catalogue's: each verb, its risk, its undo, and where it works or why not.

`python -m tests.unit.test_operations_document` writes them anew.
"""

from __future__ import annotations

import re

from tests.real.components import REPOSITORY
from uici.catalogue.coverage import coverage_of
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.model.call import Risk
from uici.model.operation import BUILTIN, Operation
from uici.model.site import Site

DOCUMENT = REPOSITORY / "docs" / "operations.md"
BEGIN, END = "<!-- the table of verbs begins -->\n", "<!-- the table of verbs ends -->\n"
COVERAGE = "<!-- the table of platforms begins -->\n", "<!-- the table of platforms ends -->\n"
EXECUTORS = discover_executors()


def table(site: Site) -> str:
    """The verbs of the shipped catalogue, in the order of their names."""
    rows = ["| verb | what it does | parameters | risk | undo | platforms |", "|---|---|---|---|---|---|"]
    for name, operation in sorted(site.operations.items()):
        parameters = ", ".join(
            f"`{parameter}`" + ("" if parameter in operation.required else " (optional)")
            for parameter in operation.parameters
        )
        cells = (
            f"`{name}`",
            operation.summary,
            parameters,
            _risk(operation).value,
            _undo(operation),
            _where(operation),
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") or "-" for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _risk(operation: Operation) -> Risk:
    """The highest that a step with this verb has on any platform."""
    calls = [
        template.risk or EXECUTORS[platform].call_specs[template.call].risk
        for platform, translation in operation.translations.items()
        if platform in EXECUTORS and operation.mutates
        for template in translation.calls
    ]
    return max((operation.risk, *calls), key=lambda risk: risk.rank)


def _undo(operation: Operation) -> str:
    if not operation.mutates:
        return "only reads"
    return f"`{operation.inverse.operation}`" if operation.inverse is not None else "no"


def _where(operation: Operation) -> str:
    if BUILTIN in operation.translations:
        return "all"
    able = [name for name, translation in operation.translations.items() if translation.unsupported is None]
    return ", ".join(sorted(able))


def test_the_table_is_the_catalogues() -> None:
    text = DOCUMENT.read_text()
    assert BEGIN in text
    assert END in text
    shown = text.partition(BEGIN)[2].partition(END)[0]
    wanted = table(load_site(None, executors=EXECUTORS))
    assert shown == wanted, "write it anew: python -m tests.unit.test_operations_document"


def test_where_verbs_work_is_the_catalogues() -> None:
    shown = DOCUMENT.read_text().partition(COVERAGE[0])[2].partition(COVERAGE[1])[0]
    wanted = coverage_of(load_site(None, executors=EXECUTORS), EXECUTORS).markdown()
    assert shown == wanted, "write it anew: python -m tests.unit.test_operations_document"


def test_the_walked_example_is_the_shipped_file() -> None:
    shown = re.search(r"```yaml\n# file: operations/reload_edge\.yml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    shipped = (REPOSITORY / "operations" / "reload_nginx.yml").read_text()
    assert shown is not None
    assert shown[1].strip() == shipped.partition("\n\n")[2].strip(), "the example differs from the file that is tested"


def _replaced(text: str, begin: str, end: str, between: str) -> str:
    head, _, rest = text.partition(begin)
    return head + begin + between + end + rest.partition(end)[2]


if __name__ == "__main__":
    found = load_site(None, executors=EXECUTORS)
    written = _replaced(DOCUMENT.read_text(), BEGIN, END, table(found))
    DOCUMENT.write_text(_replaced(written, *COVERAGE, coverage_of(found, EXECUTORS).markdown()))
