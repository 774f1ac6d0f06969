"""The site in force while its files change under it: as editors, packagers and clusters change them."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from uici.catalogue.diagnostics import CatalogueError
from uici.catalogue.executors import discover_executors
from uici.catalogue.live import LiveSite, ReloadOutcome
from uici.catalogue.loading import Catalogue
from uici.catalogue.locations import shipped_operations
from uici.catalogue.tree import Look, Tree
from uici.model.site import Site

EXECUTORS = discover_executors()
UNCHANGED, UNSETTLED, RELOADED, REJECTED = ReloadOutcome


class Ticks:
    """A clock on which each look is a second later."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(seconds=1)
        return self._now


def targets(*names: str) -> str:
    return "targets:\n" + "".join(
        f"  {name}: {{bindings: {{local: {{program: {name}, command: [/bin/true]}}}}}}\n" for name in names
    )


def write_anew(path: Path, text: str) -> None:
    """As editors save: a new file takes the old one's name."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.replace(path)


def live_site(folder: Path) -> LiveSite:
    tree = Tree(folder)
    return LiveSite(tree, Catalogue(tree, executors=EXECUTORS).load, Ticks())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "targets.yml").write_text(targets("one"))
    return tmp_path / "config"


def looks(live: LiveSite) -> list[ReloadOutcome]:
    """What looking says until nothing is new."""
    found = [live.look()]
    while found[-1] is UNSETTLED:
        found.append(live.look())
    return found


def test_nothing_changes_nothing(folder: Path) -> None:
    live = live_site(folder)
    site = live.site()
    assert looks(live) == [UNCHANGED]
    assert live.site() is site


def test_a_change_is_taken_up_when_two_looks_agree(folder: Path) -> None:
    live = live_site(folder)
    before = live.in_force
    write_anew(folder / "targets.yml", targets("one", "two"))
    assert live.look() is UNSETTLED
    assert list(live.site().targets) == ["one"]
    assert live.look() is RELOADED
    assert list(live.site().targets) == ["one", "two"]
    assert live.in_force.digest != before.digest
    assert live.in_force.since > before.since
    assert looks(live) == [UNCHANGED]


def test_a_file_that_is_still_being_written_is_left_alone(folder: Path) -> None:
    live = live_site(folder)
    whole = targets("one", "two", "three")
    for length in (10, 40, 90):
        (folder / "targets.yml").write_text(whole[:length])
        assert live.look() is UNSETTLED
    (folder / "targets.yml").write_text(whole)
    assert looks(live) == [UNSETTLED, RELOADED]
    assert live.rejected is None
    assert list(live.site().targets) == ["one", "two", "three"]


def test_what_is_written_while_it_is_loaded_is_judged_again(folder: Path) -> None:
    written = iter([targets("one", "late")])

    tree = Tree(folder)
    catalogue = Catalogue(tree, executors=EXECUTORS)

    def load(look: Look) -> Site:
        site = catalogue.load(look)
        if (text := next(written, None)) is not None:
            write_anew(folder / "targets.yml", text)
        return site

    live = LiveSite(tree, load, Ticks())
    # What was read at the start is sound; what was written meanwhile is taken up by the next looks.
    assert list(live.site().targets) == ["one"]
    assert looks(live)[-1] is RELOADED
    assert list(live.site().targets) == ["one", "late"]
    written = iter([targets("one", "later")])
    write_anew(folder / "targets.yml", targets("one", "soon"))
    assert looks(live)[-1] is RELOADED
    assert list(live.site().targets) == ["one", "later"]


def test_broken_files_leave_the_old_site_in_force_and_say_why(folder: Path) -> None:
    live = live_site(folder)
    before = live.in_force
    write_anew(folder / "targets.yml", "targets: {one: {}}\n")
    assert looks(live) == [UNSETTLED, REJECTED]
    assert live.in_force is before
    rejected = live.rejected
    assert rejected is not None
    assert [each.code for each in rejected.diagnostics] == ["missing_key"]
    assert looks(live) == [UNCHANGED]
    os.utime(folder / "targets.yml", ns=(0, 0))
    assert looks(live) == [UNSETTLED, UNCHANGED]
    assert live.rejected is rejected
    write_anew(folder / "targets.yml", targets("one"))
    assert looks(live) == [UNSETTLED, UNCHANGED]
    assert live.in_force is before
    assert live.rejected is None


def test_a_verb_comes_changes_and_goes(folder: Path) -> None:
    live = live_site(folder)
    verb = (shipped_operations() / "reload_service.yml").read_text()
    (folder / "operations").mkdir()
    (folder / "operations" / "nudge_service.yml").write_text(verb)
    assert looks(live)[-1] is RELOADED
    assert live.site().operations["nudge_service"].summary.startswith("Ask the service")
    write_anew(folder / "operations" / "nudge_service.yml", verb.replace("Ask the service", "Nudge the service"))
    assert looks(live)[-1] is RELOADED
    assert live.site().operations["nudge_service"].summary.startswith("Nudge the service")
    shutil.rmtree(folder / "operations")
    assert looks(live)[-1] is RELOADED
    assert "nudge_service" not in live.site().operations


def test_the_folder_may_go_and_come_back(folder: Path) -> None:
    live = live_site(folder)
    before = live.in_force
    folder.rename(folder.with_name("away"))
    assert looks(live)[-1] is REJECTED
    assert live.in_force is before
    assert live.rejected is not None
    assert [each.code for each in live.rejected.diagnostics] == ["no_such_folder"]
    folder.with_name("away").rename(folder)
    assert looks(live)[-1] is UNCHANGED
    assert live.rejected is None


def test_a_config_map_is_swapped_by_one_link(tmp_path: Path) -> None:
    # How the kubelet updates a mounted ConfigMap: files are links through `..data`, which is replaced by rename.
    # https://kubernetes.io/docs/concepts/storage/volumes/#configmap
    mount = tmp_path / "mount"
    mount.mkdir()

    def publish(revision: str, text: str) -> None:
        (mount / revision).mkdir()
        (mount / revision / "targets.yml").write_text(text)
        (mount / "..data_tmp").symlink_to(revision)
        (mount / "..data_tmp").replace(mount / "..data")

    publish("..2026_01", targets("one"))
    (mount / "targets.yml").symlink_to(Path("..data") / "targets.yml")
    live = live_site(mount)
    publish("..2026_02", targets("one", "two"))
    shutil.rmtree(mount / "..2026_01")
    assert looks(live) == [UNSETTLED, RELOADED]
    assert list(live.site().targets) == ["one", "two"]
    publish("..2026_03", "targets: [\n")
    assert looks(live) == [UNSETTLED, REJECTED]
    assert list(live.site().targets) == ["one", "two"]


def test_a_file_that_becomes_unreadable_is_a_problem_not_an_absence(folder: Path) -> None:
    live = live_site(folder)
    (folder / "targets.yml").unlink()
    (folder / "targets.yml").mkdir()
    assert looks(live)[-1] is REJECTED
    assert live.rejected is not None
    assert live.rejected.diagnostics[0].code == "unreadable_file"


def test_platform_settings_wait_for_a_restart(folder: Path) -> None:
    live = live_site(folder)
    write_anew(folder / "platform.yml", "runs: {threads: 4}\nnotify: {webhook: '${env:HOOK}'}\n")
    write_anew(folder / "targets.yml", targets("two"))
    assert looks(live)[-1] is RELOADED
    assert live.in_force.needs_restart == ("notify.webhook", "runs.threads")
    assert live.site().platform.runs.threads == 32
    assert list(live.site().targets) == ["two"]
    (folder / "platform.yml").unlink()
    assert looks(live)[-1] is RELOADED
    assert not live.in_force.needs_restart


def test_reloading_settles_by_itself(folder: Path) -> None:
    live = live_site(folder)
    assert live.reload() is UNCHANGED
    write_anew(folder / "targets.yml", targets("two"))
    assert live.reload() is RELOADED
    write_anew(folder / "targets.yml", "targets: 1\n")
    assert live.reload() is REJECTED


def test_nothing_is_in_force_without_a_sound_beginning(folder: Path) -> None:
    (folder / "targets.yml").write_text("targets: 1\n")
    with pytest.raises(CatalogueError):
        live_site(folder)
