"""Sites kept on the disk: the same as loaded ones, and never trusted when anything is amiss."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from uici.catalogue.cache import SiteCache
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import Catalogue, load_site
from uici.catalogue.locations import shipped_operations
from uici.catalogue.tree import Tree
from uici.model.site import Site
from uici.translation.verb_tests import VerbProver

EXECUTORS = discover_executors()
VERB = (shipped_operations() / "reload_service.yml").read_text()
COUNT = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "operations").mkdir()
    for number in range(COUNT):
        (folder / "operations" / f"verb_{number}.yml").write_text(VERB)
    (folder / "environments.yml").write_text("default: auto\n")
    (folder / "targets.yml").write_text(
        "targets: {web: {match: ['a=~\"b.*\"'], bindings: {local: {program: web, command: [/bin/true]}}}}\n"
    )
    return folder


def catalogue(folder: Path, cache: Path) -> Catalogue:
    return Catalogue(Tree(folder), executors=EXECUTORS, cache=SiteCache(cache, folder, EXECUTORS))


def kept(folder: Path, cache: Path) -> tuple[Site, Path]:
    """A site that was loaded and kept, and the file."""
    first = catalogue(folder, cache)
    look = first.tree.look()
    assert first.restore(look) is None
    site = first.load(look)
    first.keep(look, site)
    (file,) = cache.iterdir()
    return site, file


def restored(folder: Path, cache: Path) -> Site | None:
    again = catalogue(folder, cache)
    return again.restore(again.tree.look())


def test_what_is_kept_is_what_was_loaded(folder: Path, tmp_path: Path) -> None:
    site, file = kept(folder, tmp_path / "cache")
    again = catalogue(folder, tmp_path / "cache")
    found = again.restore(again.tree.look())
    assert found == site
    assert list(found.operations) == list(site.operations)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # What follows is as after any other beginning: only what changed is read, and the answer is that of a full load.
    path = folder / "operations" / "verb_7.yml"
    fresh = path.with_suffix(".new")
    fresh.write_text(VERB.replace("Ask the service", "Nudge the service"))
    fresh.replace(path)
    try:
        after = again.load()
        assert after == load_site(folder, executors=EXECUTORS)
        assert after.operations["verb_8"] is found.operations["verb_8"]
        prover = VerbProver(EXECUTORS)
        prover.trust(found)
        assert prover.failures(after) == []
        assert restored(folder, tmp_path / "cache") is None
    finally:
        path.write_text(VERB)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def foreign(file: Path) -> None:
    file.write_text('{"format": 99}\n{}\n')


def open_to_others(file: Path) -> None:
    file.chmod(0o660)


def made_up(file: Path) -> None:
    """Whole by its checksum, but not what this code writes."""
    import hashlib

    body = b'{"format":1,"key":"x","default_environment":"local","site":{}}\n{}\n'
    file.write_bytes(body + hashlib.sha256(body).hexdigest().encode())


@pytest.fixture(scope="module")
def written(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    _, file = kept(folder, tmp_path_factory.mktemp("written") / "cache")
    return file


@pytest.mark.parametrize("damage", [cut, flip, empty, foreign, open_to_others, made_up, os.unlink])
def test_what_is_damaged_or_foreign_is_as_good_as_none(
    folder: Path, written: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    file = Path(shutil.copy2(written, tmp_path))
    assert restored(folder, tmp_path) is not None
    damage(file)
    assert restored(folder, tmp_path) is None


def test_what_is_damaged_is_written_anew(folder: Path, written: Path, tmp_path: Path) -> None:
    cut(Path(shutil.copy2(written, tmp_path)))
    kept(folder, tmp_path)
    assert restored(folder, tmp_path) is not None


def test_other_code_keeps_sites_of_its_own(folder: Path, written: Path) -> None:
    fewer = {"local": EXECUTORS["local"]}
    other = Catalogue(Tree(folder), executors=fewer, cache=SiteCache(written.parent, folder, fewer))
    assert other.restore(other.tree.look()) is None


def test_where_nothing_can_be_written_nothing_is_kept(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    one = catalogue(folder, tmp_path / "cache")
    look = one.tree.look()
    one.keep(look, one.load(look))
    assert restored(folder, tmp_path / "cache") is None


def test_old_files_are_forgotten(folder: Path, tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / f"catalogue-{number}.jsonl"
        path.write_text("")
        os.utime(path, (number, number))
    one = catalogue(folder, tmp_path)
    look = one.tree.look()
    one.keep(look, one.load(look))
    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == 8
    assert "catalogue-11.jsonl" in left
    assert "catalogue-0.jsonl" not in left
