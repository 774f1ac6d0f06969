"""Every threshold of policies.yml, taken from its shape: what it cannot be, the loader refuses with file and line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from executors.local import LocalExecutor
from uici.catalogue import documents, tree
from uici.catalogue.diagnostics import CatalogueError
from uici.catalogue.loading import load_site
from uici.catalogue.locations import shipped_config
from uici.model.thresholds import thresholds

THRESHOLDS = [".".join(path) for path, _ in thresholds()]
YAML_TEXTS = {
    "null": "null",
    "text": "'5'",
    "word": "soon",
    "truth": "true",
    "list": "[1]",
    "nan": ".nan",
    "infinite": ".inf",
    "below": "-.inf",
    "negative": "-1",
    "absurd": "1e15",
    "huge": "99999999999999999999",
}


def written(threshold: str, text: str) -> str:
    """The threshold first; a section replaces the shipped one, so it has its other keys too."""
    *section, name = threshold.split(".")
    if not section:
        return f"{name}: {text}\n"
    shipped = yaml.safe_load((shipped_config() / "policies.yml").read_text()).get(section[0], {})
    others = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in shipped.items() if key != name)
    return f"{section[0]}:\n  {name}: {text}\n{others}"


def refused(folder: Path | None) -> CatalogueError:
    with pytest.raises(CatalogueError) as caught:
        load_site(folder, executors={"local": LocalExecutor})
    return caught.value


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("kind", YAML_TEXTS)
def test_the_loader_refuses_it_with_its_line(threshold: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "policies.yml").write_text(written(threshold, YAML_TEXTS[kind]))
    line = 2 if "." in threshold else 1
    found = refused(tmp_path).diagnostics
    assert [(Path(item.file).name, item.line) for item in found] == [("policies.yml", line)]
    assert threshold.rpartition(".")[2] in found[0].text or found[0].code == "not_finite", found[0]


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_the_loader_refuses_one_that_is_missing_altogether(
    threshold: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped file gives every one, so only a shipped file that lost one can bring this about."""
    broken = tmp_path / "shipped"
    shutil.copytree(shipped_config(), broken)
    section, _, name = threshold.rpartition(".")
    document = yaml.safe_load((broken / "policies.yml").read_text())
    del (document[section] if section else document)[name]
    (broken / "policies.yml").write_text(yaml.safe_dump(document))
    for reader in (documents, tree):
        monkeypatch.setattr(reader, "shipped_config", lambda: broken)
    missing = [item for item in refused(None).diagnostics if item.code == "missing_threshold"]
    assert [item.text.split(" has no value")[0] for item in missing] == [threshold]
    assert missing[0].line >= 1
