"""What may be deleted to make room on this machine, and what never is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from executors.local.reclaiming import Kept, Reclaim, prove, reclaim, remember
from uici.model.call import CallError, Happened

NOTHING_KEPT = Kept.of(frozenset(), ())
SOON = 30.0


def wanted(folder: Path, *globs: str, older: float = 60) -> Reclaim:
    return Reclaim(globs=tuple(f"{folder}/{glob}" for glob in globs), older_than_seconds=older)


def old(path: Path, text: str = "x" * 5000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (0, 0))
    return path


def done(what: Reclaim, kept: Kept = NOTHING_KEPT) -> dict[str, int]:
    return reclaim(what, kept, time.monotonic() + SOON)


@pytest.mark.parametrize(
    "glob",
    [
        "relative/*.tmp", "/*", "/*.tmp", "/tmp/*", "/var/*/x", "/var/cache/../../etc/*", "/var/cache/./*",
        "/var/cache/", "/var//cache/*", "/var/cache/**x/*", "/var/cache/x\x00", "",
    ],
)  # fmt: skip
def test_a_glob_that_could_reach_too_far_is_refused(glob: str) -> None:
    with pytest.raises(ValidationError):
        Reclaim(globs=(glob,), older_than_seconds=0)


def test_wildcards_mean_what_a_shell_means(tmp_path: Path) -> None:
    names = ("a.tmp", "b.log", "sub/c.tmp", "sub/deep/d.tmp", ".hidden.tmp", ".dir/e.tmp")
    files = {name: old(tmp_path / name) for name in names}
    assert done(wanted(tmp_path, "*.tmp"))["removed"] == 1
    assert done(wanted(tmp_path, "**/*.tmp"))["removed"] == 2
    assert done(wanted(tmp_path, "[ab].lo?"))["removed"] == 1
    assert done(wanted(tmp_path, ".hidden.*"))["removed"] == 1
    assert [name for name, path in files.items() if path.exists()] == [".dir/e.tmp"]


def test_no_symbolic_link_is_followed(tmp_path: Path) -> None:
    outside = old(tmp_path / "outside" / "precious.tmp")
    root = tmp_path / "root"
    root.mkdir()
    (root / "folder").symlink_to(outside.parent)
    (root / "file.tmp").symlink_to(outside)
    assert done(wanted(root, "**/*.tmp", "*"))["removed"] == 0
    assert outside.exists()
    (tmp_path / "alias").symlink_to(root)
    with pytest.raises(CallError, match="is a symbolic link, which is not followed; write") as caught:
        done(wanted(tmp_path / "alias", "*.tmp"))
    assert caught.value.code == "root_is_a_link"
    # Nothing is deleted before all roots are known to be sound.
    spared = old(root / "spared.tmp")
    with pytest.raises(CallError, match="is a symbolic link"):
        done(Reclaim(globs=(f"{root}/*.tmp", f"{tmp_path}/alias/*.tmp"), older_than_seconds=0))
    assert spared.exists()


def test_uicis_own_state_stays_under_every_name(tmp_path: Path) -> None:
    state = old(tmp_path / "site" / "uici.db")
    journal = old(tmp_path / "site" / "uici.db-wal")
    other_name = tmp_path / "site" / "other.db"
    os.link(state, other_name)
    supervised = old(tmp_path / "site" / "supervisor" / "web.json")
    litter = old(tmp_path / "site" / "litter.db")
    kept = Kept.of(frozenset({str(state)}), (str(supervised.parent),))
    assert done(wanted(tmp_path / "site", "**/*"), kept)["removed"] == 1
    assert not litter.exists()
    assert all(path.exists() for path in (state, journal, other_name, supervised))


def test_only_room_that_became_free_is_counted(tmp_path: Path) -> None:
    first = old(tmp_path / "first.tmp")
    os.link(first, tmp_path / "second.dat")
    result = done(wanted(tmp_path, "*.tmp"))
    assert (result["removed"], result["reclaimed_bytes"]) == (1, 0)


def test_a_proof_looks_for_what_was_meant_then(tmp_path: Path) -> None:
    what = wanted(tmp_path, "*.tmp")
    before = remember(what)
    old(tmp_path / "a.tmp")
    assert prove(what, NOTHING_KEPT, before) is Happened.NO
    done(what)
    assert prove(what, NOTHING_KEPT, before) is Happened.YES
    # What has come since is somebody else's matter.
    (tmp_path / "new.tmp").write_text("new")
    assert prove(what, NOTHING_KEPT, before) is Happened.YES
    assert prove(what, NOTHING_KEPT, {}) is Happened.UNKNOWN


def test_what_is_not_there_is_no_failure(tmp_path: Path) -> None:
    assert done(wanted(tmp_path / "no" / "such", "*.tmp")) == {"reclaimed_bytes": 0, "removed": 0, "failed": 0}
