"""Secrets from where they are kept: Vault's API, the simulated Oracle Cloud, a real cluster; asking them in time."""

from __future__ import annotations

import base64
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oci
import pytest

import uici.runs.platforms
from executors.oci.simulator import Order
from executors.secrets import kubernetes
from executors.secrets.kubernetes import from_kubernetes
from executors.secrets.oci import from_oci
from executors.secrets.vault import from_vault
from tests.doubles.memory_executor import World
from tests.doubles.vault_server import VaultServer, vault_server
from tests.integration import runs_rig as rig
from tests.integration.notify_rig import listening
from tests.integration.oci_ground import Ground
from tests.real.kubernetes import RealCluster
from uici.access import secrets
from uici.access.fetching import FRESH_SECONDS, STALE_SECONDS, Fetcher
from uici.access.secrets import resolve
from uici.bootstrap import Application
from uici.model.errors import Problem
from uici.model.masking import MASK, mask
from uici.model.settings import NotifySettings
from uici.notify.channels import open_channels
from uici.ports import ExecutorContext

VALUE = f"value-{uuid.uuid4().hex}"


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[VaultServer]:
    with vault_server() as vault:
        vault.tokens = {"the-token"}
        vault.secrets = {"kv/team/shop": {"password": VALUE, "number": 5, "empty": ""}}
        for name in ("VAULT_NAMESPACE", "VAULT_CACERT", "VAULT_TOKEN_FILE", "VAULT_KUBERNETES_ROLE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("VAULT_ADDR", vault.url)
        monkeypatch.setenv("VAULT_TOKEN", "the-token")
        yield vault


def test_a_field_of_a_secret_in_vault_and_each_way_to_be_refused(
    vault: VaultServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert from_vault("kv/team/shop#password") == VALUE
    for locator, error, words in (
        ("kv/team/nothing#password", LookupError, "has no secret kv/team/nothing"),
        ("kv/team/shop#user", LookupError, "no field user"),
        ("kv/team/shop#empty", LookupError, "empty"),
        ("kv/team/shop#number", ValueError, "no text"),
        ("kv#password", ValueError, "mount/path#field"),
        ("kv/team/shop", ValueError, "mount/path#field"),
    ):
        with pytest.raises(error, match=words) as caught:
            from_vault(locator)
        assert VALUE not in str(caught.value)
    vault.deleted.add("kv/team/shop")
    with pytest.raises(LookupError, match="deleted"):
        from_vault("kv/team/shop#password")
    vault.deleted.clear()
    vault.sealed = True
    with pytest.raises(OSError, match="sealed"):
        from_vault("kv/team/shop#password")
    vault.sealed = False
    monkeypatch.setenv("VAULT_TOKEN", "another")
    with pytest.raises(PermissionError, match="403"):
        from_vault("kv/team/shop#password")
    token = tmp_path / "token"
    token.write_text("the-token\n")
    monkeypatch.setenv("VAULT_TOKEN_FILE", str(token))
    assert from_vault("kv/team/shop#password") == VALUE
    account = tmp_path / "account"
    account.write_text("account-token")
    monkeypatch.setenv("VAULT_KUBERNETES_ROLE", "uici")
    monkeypatch.setenv("VAULT_KUBERNETES_TOKEN_FILE", str(account))
    with pytest.raises(PermissionError):
        from_vault("kv/team/shop#password")
    vault.accounts["uici", "account-token"] = "the-token"
    assert from_vault("kv/team/shop#password") == VALUE
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    with pytest.raises(OSError, match="cannot be asked"):
        from_vault("kv/team/shop#password")
    monkeypatch.delenv("VAULT_ADDR")
    with pytest.raises(ValueError, match="VAULT_ADDR"):
        from_vault("kv/team/shop#password")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("oci"))
    yield ground
    ground.close()


def _content(text: bytes) -> Any:
    return oci.vault.models.Base64SecretContentDetails(content=base64.b64encode(text).decode())


def test_a_secret_of_oracle_cloud_by_id_and_by_name(cloud: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCI_CLI_CONFIG_FILE", str(cloud.simulator.credentials.config_file))
    monkeypatch.setenv("OCI_CLI_ENDPOINT", cloud.simulator.url)
    vaults, place = cloud.client("vault.VaultsClient"), "ocid1.vault.oc1.phx.abc.def"
    wanted = oci.vault.models.CreateSecretDetails(
        compartment_id=cloud.simulator.compartment,
        key_id="ocid1.key.oc1.phx.abc.def",
        secret_content=_content(VALUE.encode()),
        secret_name="shop",
        vault_id=place,
    )
    made = vaults.create_secret(wanted).data
    assert from_oci(made.id) == from_oci(f"{place}/shop") == VALUE
    vaults.update_secret(made.id, oci.vault.models.UpdateSecretDetails(secret_content=_content(b"another value\n")))
    assert from_oci(made.id) == "another value"
    for locator in (f"{place}/nothing", "ocid1.vaultsecret.oc1.phx.nothing"):
        with pytest.raises(LookupError, match="there is no secret"):
            from_oci(locator)
    with pytest.raises(ValueError, match="OCID"):
        from_oci("shop")
    vaults.update_secret(made.id, oci.vault.models.UpdateSecretDetails(secret_content=_content(b"\xff\xfe")))
    with pytest.raises(ValueError, match="not UTF-8"):
        from_oci(made.id)
    cloud.simulator.order(Order("throttle", "secrets.SecretsClient.get_secret_bundle"))
    with pytest.raises(OSError, match="Oracle Cloud"):
        from_oci(made.id)
    monkeypatch.setenv("OCI_CLI_CONFIG_FILE", "/nowhere")
    with pytest.raises(OSError, match="/nowhere"):
        from_oci(made.id)
    monkeypatch.setenv("OCI_CLI_AUTH", "nonsense")
    with pytest.raises(ValueError, match="auth"):
        from_oci(made.id)


@pytest.mark.component("kubernetes")
def test_a_key_of_a_secret_of_a_real_cluster(
    real_cluster: RealCluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(real_cluster.connection["kubeconfig"]))
    kubernetes._forget()

    def keep(text: bytes) -> None:
        data = {"password": base64.b64encode(text).decode(), "empty": ""}
        metadata = {"name": "shop", "namespace": namespace}
        real_cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})

    try:
        keep(VALUE.encode())
        assert from_kubernetes(f"{namespace}/shop/password") == VALUE
        keep(b"another value")
        assert from_kubernetes(f"{namespace}/shop/password") == "another value"
        for locator, error, words in (
            (f"{namespace}/nothing/password", LookupError, "there is no Secret nothing"),
            (f"{namespace}/shop/user", LookupError, "no key user"),
            (f"{namespace}/shop/empty", LookupError, "empty"),
            ("shop/password", ValueError, "namespace/name/key"),
        ):
            with pytest.raises(error, match=words):
                from_kubernetes(locator)
        keep(b"\xff\xfe")
        with pytest.raises(ValueError, match="not UTF-8"):
            from_kubernetes(f"{namespace}/shop/password")
        monkeypatch.setenv("KUBECONFIG", "/nowhere")
        kubernetes._forget()
        with pytest.raises(OSError, match="/nowhere"):
            from_kubernetes(f"{namespace}/shop/password")
    finally:
        kubernetes._forget()


class Time:
    """Seconds that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_is_used_again_for_a_while_and_longer_while_nobody_answers(vault: VaultServer) -> None:
    time = Time()
    fetcher = Fetcher(now=time)

    def fetch() -> str:
        return fetcher.fetch("vault", from_vault, "kv/team/shop#password")

    assert fetch() == fetch() == VALUE
    assert len(vault.asked) == 1
    vault.secrets["kv/team/shop"] = {"password": "changed value"}
    time.now += FRESH_SECONDS
    assert fetch() == "changed value"
    vault.sealed = True
    time.now += FRESH_SECONDS
    assert fetch() == fetch() == "changed value"
    assert len(vault.asked) == 3, "what did not answer is left alone for a while"
    time.now += STALE_SECONDS
    with pytest.raises(OSError, match="sealed"):
        fetch()
    vault.sealed = False
    time.now += FRESH_SECONDS
    assert fetch() == "changed value"
    del vault.secrets["kv/team/shop"]
    time.now += FRESH_SECONDS
    with pytest.raises(LookupError):
        fetch()  # gone is gone


def test_who_never_answers_is_not_waited_for(vault: VaultServer) -> None:
    vault.answering.clear()
    fetcher = Fetcher(seconds=0.2)
    with pytest.raises(TimeoutError, match="no answer within"):
        fetcher.fetch("vault", from_vault, "kv/team/shop#password")
    with pytest.raises(OSError, match="no answer within"):
        fetcher.fetch("vault", from_vault, "kv/team/other#password")
    assert len(vault.asked) == 1


def test_the_references_are_known_and_their_values_masked(vault: VaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    monkeypatch.setattr(secrets, "_fetcher", Fetcher(now=time))
    reference = "${vault:kv/team/shop#password}"
    assert resolve(reference).reveal() == VALUE
    later = f"later-{uuid.uuid4().hex}"
    vault.secrets["kv/team/shop"] = {"password": later}
    time.now += FRESH_SECONDS
    assert resolve(reference).reveal() == later
    assert mask(f"{VALUE} {later}") == f"{MASK} {MASK}", "the old value stays hidden"
    vault.sealed = True
    time.now += STALE_SECONDS + FRESH_SECONDS
    with pytest.raises(Problem) as caught:
        resolve(reference)
    assert caught.value.code == "secret_unreadable"
    assert "sealed" in caught.value.detail
    assert threading.active_count() < 50


def test_a_changed_secret_of_a_connection_is_taken_up_while_uici_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "secret"
    place.write_text(f"/first-{uuid.uuid4().hex}")
    connected: list[str] = []
    closed: list[str] = []

    class Watched(World().executor_class()):  # type: ignore[misc]  # a class that is made at run time
        def __init__(self, context: ExecutorContext) -> None:
            super().__init__(context)
            self.directory = context.settings["directory"]
            connected.append(self.directory)

        def close(self) -> None:
            closed.append(self.directory)

    environments = (
        "default: local\nenvironments: {local: {platform: local, connection: {manage: false, directory: "
        f"'${{file:{place}}}'}}}}}}\n"
    )
    config = rig.site(tmp_path / "site", "web", environments=environments)
    application = Application(config, f"sqlite:///{tmp_path / 'uici.db'}", executors={"local": Watched})
    platforms = application.platforms
    first = platforms.executor("local")
    assert platforms.executor("local") is first
    monkeypatch.setattr(uici.runs.platforms, "SECRETS_SECONDS", 0.0)
    place.write_text(f"/second-{uuid.uuid4().hex}")
    for known in platforms._credentials.values():
        known.look_at = 0.0
    second = platforms.executor("local")
    assert second is not first
    assert connected[-1] == place.read_text()
    place.unlink()
    assert platforms.executor("local") is second, "what was read last is used while the secret cannot be read"
    assert closed == []
    place.write_text(f"/third-{uuid.uuid4().hex}")
    platforms.executor("local")
    assert closed == [connected[0]]
    assert mask(" ".join(connected)) == " ".join([MASK] * 3)
    platforms.close()
    assert sorted(closed) == sorted(connected)
    application.store.close()


def test_a_changed_address_of_people_is_used_for_the_next_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "hook"
    with listening() as heard:
        place.write_text(f"http://127.0.0.1:{heard.port}/first")
        _, channel = open_channels(NotifySettings(webhook=f"${{file:{place}}}"))
        channel.notifier.send({"title": "one"})
        place.write_text(f"http://127.0.0.1:{heard.port}/second")
        channel.notifier.send({"title": "two"})
        place.unlink()
        channel.notifier.send({"title": "three"})
        assert [request.path for request in heard.requests] == ["/first", "/second", "/second"]
