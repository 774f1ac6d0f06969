"""The built wheel, installed away from the source tree, is whole."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.real.components import REPOSITORY

SHIPPED = ("operations", "infrastructure")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; its dependencies are those of the environment that runs the tests."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    pip = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            str(wheel),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    assert pip.returncode == 0, pip.stdout + pip.stderr
    # A path in a .pth file is searched, but its own .pth files are not: the editable install stays out of sight.
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder from which the source tree cannot be found."""
    folder = tmp_path / "some where else"
    folder.mkdir()
    return folder


def run(installed: Path, elsewhere: Path, *argv: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "UICI_"))}
    done = subprocess.run(
        [str(installed / "bin" / argv[0]), *argv[1:]],
        cwd=elsewhere,
        env=environment | {"NO_COLOR": "1", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_what_it_must_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (info,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        licence = archive.read(f"{info}/licenses/LICENSE").decode()
    assert {name.partition("/")[0] for name in names} == {"uici", "executors", "council", info}
    assert {"uici/py.typed", "executors/py.typed", "council/py.typed"} <= names
    assert "Apache License" in licence
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    data = {
        f"uici/shipped/{path.relative_to(REPOSITORY).as_posix()}"
        for folder in SHIPPED
        for path in (REPOSITORY / folder).rglob("*.yml")
    }
    assert len(data) >= 9
    assert data <= names
    sources = {
        path.relative_to(REPOSITORY).as_posix()
        for package in ("uici", "executors", "council")
        for path in (REPOSITORY / package).rglob("*.py")
    }
    assert sources <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_command_works_from_any_folder(installed: Path, elsewhere: Path) -> None:
    assert "serve" in run(installed, elsewhere, "uici", "--help")
    where = run(installed, elsewhere, "python", "-c", "import uici; print(uici.__file__)").strip()
    assert Path(where).is_relative_to(installed)


def test_the_shipped_configuration_is_found_and_sound(installed: Path, elsewhere: Path) -> None:
    run(installed, elsewhere, "uici", "check")
    run(installed, elsewhere, "uici", "init", "site")
    run(installed, elsewhere, "uici", "check", "--config", "site")


def test_the_editable_install_works_from_any_folder(elsewhere: Path) -> None:
    run(Path(sys.prefix), elsewhere, "uici", "check")


def test_a_bare_import_loads_nothing_heavy(installed: Path, elsewhere: Path) -> None:
    code = "import sys, uici; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(run(installed, elsewhere, "python", "-c", code).split())
    assert "uici" in loaded
    assert loaded & {"docker", "fastapi", "dbos", "sqlalchemy", "supervisor", "executors", "pydantic"} == set()


def test_a_command_begins_without_what_only_some_commands_need(installed: Path, elsewhere: Path) -> None:
    code = "import sys, uici.cli.app; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(run(installed, elsewhere, "python", "-c", code).split())
    assert {"uici", "typer"} <= loaded
    assert loaded & {"httpx", "rich", "jsonschema", "yaml", "fastapi", "sqlalchemy", "dbos", "executors"} == set()


def test_the_service_starts_without_what_not_every_service_needs(installed: Path, elsewhere: Path) -> None:
    code = "import sys, uici.bootstrap.serving; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = set(run(installed, elsewhere, "python", "-c", code).split())
    assert {"fastapi", "sqlalchemy"} <= loaded
    unneeded = {"alembic", "mako", "apprise", "docker", "kubernetes", "oci", "jwt", "cryptography", "markdown_it"}
    assert loaded & unneeded == set()


def test_call_specifications_are_readable_without_the_vendors_sdk(installed: Path, elsewhere: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('docker', 'kubernetes', 'oci')))\n"
        "from importlib.metadata import entry_points\n"
        "for point in sorted(entry_points(group='uici.executors'), key=lambda point: point.name):\n"
        "    executor = point.load()\n"
        "    print(point.name, executor.platform, len(executor.call_specs), executor.binding_model.__name__)\n"
    )
    lines = [line.split() for line in run(installed, elsewhere, "python", "-c", code).splitlines()]
    assert [line[:2] for line in lines] == [[name, name] for name in ("docker", "kubernetes", "local", "oci")]
    assert all(int(line[2]) > 0 for line in lines)
