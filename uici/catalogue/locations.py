"""Where configuration lies: the shipped defaults, and a site's own tree over them."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "UICI_CONFIG_DIR"
"""Environment variable that names the site's configuration folder."""

GUIDES = "guides"
"""The folder of the guides, in a site's configuration as in what ships."""

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped_config() -> Path:
    """The folder of the shipped configuration: in a source tree the tree's own, else what the wheel brought."""
    return _shipped("infrastructure/config")


def shipped_operations() -> Path:
    """The folder of the shipped added verbs."""
    return _shipped("operations")


def config_directory(explicit: Path | None = None) -> Path | None:
    """The site's folder: `explicit`, else $UICI_CONFIG_DIR, else the current folder when `uici init` made it one.

    None means that only the shipped defaults are in force. A folder that was named is returned even when it does
    not exist, so that loading says so instead of silently running without it.
    """
    if explicit is not None:
        return explicit
    named = os.environ.get(VARIABLE, "").strip()
    if named:
        return Path(named)
    here = Path.cwd()
    return here if (here / "platform.yml").is_file() else None


def which_configuration(folder: Path | None) -> str:
    """How a sentence names the configuration of `config_directory`'s answer."""
    if folder is None:
        return f"the shipped configuration alone (no --config, no {VARIABLE}, no platform.yml here)"
    return f"the configuration in {folder}"


def site_operations(config: Path) -> tuple[Path, ...]:
    """The folders of a site's own verbs that exist: inside its configuration folder, or beside one named `config`."""
    candidates = [config / "operations"]
    if config.resolve().name == "config":
        candidates.append(config.resolve().parent / "operations")
    shipped = shipped_operations().resolve()
    # Unlike Path.is_dir, false also for what may not be looked at; loading says so.
    return tuple(folder for folder in candidates if os.path.isdir(folder) and folder.resolve() != shipped)


def _shipped(relative: str) -> Path:
    source = _PACKAGE.parent
    # Another distribution may own a folder of the same name in site-packages; only our source tree has both marks.
    if (source / "pyproject.toml").is_file() and (source / "infrastructure" / "config" / "platform.yml").is_file():
        return source / relative
    return _PACKAGE / "shipped" / relative
