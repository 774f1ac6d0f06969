"""The simulator of Oracle Cloud as the home of instance and resource principals, by the SDK's own signers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import oci
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.integration.oci_ground import Ground

ORACLE = {"Authorization": "Bearer Oracle"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("oci"))
    yield ground
    ground.close()


@pytest.fixture(scope="module")
def instance(cloud: Ground) -> str:
    details = oci.core.models.LaunchInstanceDetails(
        availability_domain="UICI:PHX-AD-1",
        compartment_id=cloud.simulator.compartment,
        shape="VM.Standard.E4.Flex",
        subnet_id=cloud.simulator.subnet,
    )
    client = cloud.client("core.ComputeClient")
    made = client.launch_instance(details).data.id
    cloud.until(lambda: client.get_instance(made).data.lifecycle_state == "RUNNING")
    return str(made)


def base(cloud: Ground, instance: str) -> str:
    return f"{cloud.simulator.admin_url}/imds/{instance}/opc/v2"


def lists(cloud: Ground, signer: Any) -> int:
    client = oci.container_instances.ContainerInstanceClient(
        {"region": "us-phoenix-1"}, signer=signer, service_endpoint=cloud.simulator.url
    )
    return int(client.list_container_instances(cloud.simulator.compartment).status)


def test_an_instance_signs_with_its_certificate(cloud: Ground, instance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCI_METADATA_BASE_URL", base(cloud, instance))
    federation = f"{cloud.simulator.admin_url}/v1/x509"
    signer = oci.auth.signers.InstancePrincipalsSecurityTokenSigner(federation_endpoint=federation)
    assert signer.tenancy_id == cloud.config["tenancy"]
    assert lists(cloud, signer) == 200


def test_the_metadata_say_which_instance_it_is(cloud: Ground, instance: str) -> None:
    told = httpx.get(f"{base(cloud, instance)}/instance/", headers=ORACLE).json()
    assert (told["id"], told["canonicalRegionName"]) == (instance, "us-phoenix-1")


@pytest.mark.parametrize(
    ("path", "headers"),
    [("instance/", {}), ("identity/cert.pem", {}), ("identity/other.pem", ORACLE), ("nothing", ORACLE)],
)
def test_the_metadata_are_refused(cloud: Ground, instance: str, path: str, headers: dict[str, str]) -> None:
    assert httpx.get(f"{base(cloud, instance)}/{path}", headers=headers).status_code == 404
    assert httpx.get(f"{base(cloud, 'ocid1.instance.oc1..nowhere')}/{path}", headers=headers).status_code == 404


def test_no_token_is_given_for_another_certificate(cloud: Ground, instance: str) -> None:
    federation = f"{cloud.simulator.admin_url}/v1/x509"
    assert httpx.post(federation, json={"certificate": "QUJD", "publicKey": "QUJD"}).status_code == 400
    pem = httpx.get(f"{base(cloud, instance)}/identity/cert.pem", headers=ORACLE).text
    certificate = "".join(line for line in pem.splitlines() if "-----" not in line)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_bytes(serialization.Encoding.PEM, form).decode()
    session = "".join(line for line in public.splitlines() if "-----" not in line)
    unsigned = httpx.post(federation, json={"certificate": certificate, "publicKey": session})
    assert (unsigned.status_code, unsigned.json()["code"]) == (401, "NotAuthenticated")


def test_a_function_signs_as_a_resource(cloud: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    token = cloud.simulator.credentials.token(
        private.public_key(), res_tenant=cloud.config["tenancy"], res_compartment=cloud.simulator.compartment
    )
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2")
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_RPST", token)
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM", pem)
    monkeypatch.setenv("OCI_RESOURCE_PRINCIPAL_REGION", "us-phoenix-1")
    assert lists(cloud, oci.auth.signers.get_resource_principals_signer()) == 200
