"""Dependencies in targets.yml: each mistake is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_catalogue_loading import load, problems
from uici.model.topology import Place, topology_of

_TWO = """targets:
  shop:
    depends_on: [{needed}]
    bindings: {{local: {{program: shop, command: [/bin/true]}}}}
  database:
    bindings: {{{environment}: {{{binding}}}}}
"""


@pytest.mark.parametrize(
    ("needed", "environment", "code", "told"),
    [
        ("databse", "local", "unknown_target", "did you mean 'database'?"),
        ("shop", "local", "depends_on_itself", "which is the target itself"),
        ("local/shop", "local", "depends_on_itself", "which is the target itself"),
        ("database", "docker", "unknown_dependency", "valid choices docker/database"),
        ("local/database", "docker", "unknown_dependency", "valid choices docker/database"),
        ("nowhere/database", "local", "unknown_dependency", "valid choices local/database"),
    ],
)
def test_a_dependency_that_cannot_be_is_told_with_its_place(
    tmp_path: Path, needed: str, environment: str, code: str, told: str
) -> None:
    binding = "container: database" if environment == "docker" else "program: database, command: [/bin/true]"
    (found,) = problems(tmp_path, targets=_TWO.format(needed=needed, environment=environment, binding=binding))
    assert (found.line, found.column, found.code) == (3, 18, code)
    assert told in str(found)


def test_a_cycle_is_told_once_with_all_that_are_on_it(tmp_path: Path) -> None:
    rows = "".join(
        f"  {name}: {{depends_on: [{needed}], bindings: {{local: {{program: {name}, command: [/bin/true]}}}}}}\n"
        for name, needed in (("a", "b"), ("b", "c"), ("c", "a"))
    )
    (found,) = problems(tmp_path, targets=f"targets:\n{rows}")
    assert (found.line, found.code) == (2, "dependency_cycle")
    assert "local/a -> local/b -> local/c -> local/a" in found.text


def test_a_dependency_is_meant_where_the_target_is(tmp_path: Path) -> None:
    site = load(
        tmp_path,
        targets="""targets:
  shop:
    depends_on: [database]
    bindings: {local: {program: shop, command: [/bin/true]}, docker: {container: shop}}
  remote: {depends_on: [local/database], bindings: {docker: {container: remote}}}
  database: {bindings: {local: {program: database, command: [/bin/true]}}}
""",
    )
    topology = topology_of(site)
    database = Place("local", "database")
    assert topology.needs(Place("local", "shop")) == (database,)
    assert topology.needs(Place("docker", "shop")) == (), "there is no database in docker"
    assert topology.needs(Place("docker", "remote")) == (database,)
