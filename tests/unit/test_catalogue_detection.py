from __future__ import annotations

import socket
from pathlib import Path

import pytest

from uici.catalogue.detection import choose_environment, detect_platform
from uici.catalogue.diagnostics import CatalogueError
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.model.site import Environment


def environments(*platforms: str) -> dict[str, Environment]:
    return {f"my-{platform}": Environment(platform=platform) for platform in platforms}


def seen(root: Path, **variables: str) -> list[str]:
    return [found.platform for found in detect_platform(root, variables)]


def test_a_bare_machine_is_local(tmp_path: Path) -> None:
    assert seen(tmp_path) == ["local"]


def test_a_pod_is_kubernetes(tmp_path: Path) -> None:
    assert seen(tmp_path, KUBERNETES_SERVICE_HOST="10.0.0.1") == ["kubernetes", "local"]
    token = tmp_path / "var/run/secrets/kubernetes.io/serviceaccount/token"
    token.parent.mkdir(parents=True)
    token.write_text("x")
    assert seen(tmp_path) == ["kubernetes", "local"]


def test_a_cloud_instance_is_told_by_its_asset_tag(tmp_path: Path) -> None:
    tag = tmp_path / "sys/class/dmi/id/chassis_asset_tag"
    tag.parent.mkdir(parents=True)
    tag.write_text("OracleCloud.com\n")
    assert seen(tmp_path) == ["oci", "local"]
    tag.write_text("something else")
    assert seen(tmp_path) == ["local"]


def test_a_docker_socket_is_docker_and_a_mere_file_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "var/run/docker.sock"
    path.parent.mkdir(parents=True)
    path.write_text("")
    assert seen(tmp_path) == ["local"]
    path.unlink()
    monkeypatch.chdir(path.parent)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("docker.sock")
        assert seen(tmp_path) == ["docker", "local"]


def test_the_most_telling_platform_that_the_site_has_is_chosen(tmp_path: Path) -> None:
    detected = detect_platform(tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    chosen = choose_environment(environments("local", "kubernetes"), detected)
    assert chosen is not None
    assert (chosen[0], "KUBERNETES_SERVICE_HOST" in chosen[1].evidence) == ("my-kubernetes", True)
    chosen = choose_environment(environments("docker", "local"), detected)
    assert chosen is not None
    assert chosen[0] == "my-local"
    assert choose_environment(environments("docker"), detect_platform(tmp_path, {})) is None


def test_auto_becomes_a_name_when_the_site_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    (tmp_path / "environments.yml").write_text("default: auto\nenvironments: {docker: null}\n")
    site = load_site(tmp_path, executors=discover_executors())
    assert (site.default_environment, "KUBERNETES_SERVICE_HOST" in site.default_because) == ("kubernetes", True)


def test_auto_takes_the_environment_of_the_site_before_a_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    (tmp_path / "environments.yml").write_text("default: auto\nenvironments: {production: {platform: kubernetes}}\n")
    assert load_site(tmp_path, executors=discover_executors()).default_environment == "production"


def test_auto_without_any_environment_says_so(tmp_path: Path) -> None:
    (tmp_path / "environments.yml").write_text(
        "default: auto\nenvironments: {docker: null, local: null, kubernetes: null, oci: null}\n"
    )
    with pytest.raises(CatalogueError, match=r"environments\.yml:1:10: nothing_detected"):
        load_site(tmp_path, executors=discover_executors())
