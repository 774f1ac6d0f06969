"""The simulator of Oracle Cloud refuses what Oracle's gateway refuses: every part of a signature, by hand."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import urlparse

import httpx
import oci
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from executors.oci.simulator import Order
from tests.integration.oci_ground import CONTAINERS, Ground

ALWAYS = ["date", "(request-target)", "host"]
WITH_BODY = ["content-length", "content-type", "x-content-sha256"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("oci"))
    yield ground
    ground.close()


class Signed:
    """One request, signed by hand, each part of which a test may spoil."""

    def __init__(self, cloud: Ground, method: str = "GET", body: bytes = b"") -> None:
        self.cloud = cloud
        self.method = method
        self.target = f"/20210415/containerInstances?compartmentId={cloud.simulator.compartment}"
        if method == "POST":
            self.target = "/20210415/containerInstances"
        self.body = body
        self.key_id = cloud.simulator.credentials.key_id
        self.key = _key(cloud)
        self.signed = ALWAYS + (WITH_BODY if method == "POST" else [])
        self.algorithm, self.version = "rsa-sha256", "1"
        self.headers = {
            "date": format_datetime(datetime.now(UTC), usegmt=True),
            "host": urlparse(cloud.simulator.url).netloc,
        }
        if method == "POST":
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            self.headers |= {
                "content-length": str(len(body)),
                "content-type": "application/json",
                "x-content-sha256": digest,
            }
        self.after: Callable[[Signed], None] = lambda signed: None

    def send(self) -> httpx.Response:
        lines = []
        for name in self.signed:
            value = f"{self.method.lower()} {self.target}" if name == "(request-target)" else self.headers[name]
            lines.append(f"{name}: {value}")
        signature = self.key.sign("\n".join(lines).encode(), padding.PKCS1v15(), hashes.SHA256())
        self.headers["authorization"] = (
            f'Signature version="{self.version}",keyId="{self.key_id}",algorithm="{self.algorithm}",'
            f'headers="{" ".join(self.signed)}",signature="{base64.b64encode(signature).decode()}"'
        )
        self.after(self)
        url = self.cloud.simulator.url + self.target
        return httpx.request(self.method, url, headers=self.headers, content=self.body, timeout=10)


def _key(cloud: Ground) -> rsa.RSAPrivateKey:
    found = serialization.load_pem_private_key(Path(cloud.config["key_file"]).read_bytes(), None)
    assert isinstance(found, rsa.RSAPrivateKey)
    return found


def late(signed: Signed) -> None:
    signed.headers["date"] = format_datetime(datetime.now(UTC) - timedelta(minutes=6), usegmt=True)


def early(signed: Signed) -> None:
    signed.headers["date"] = format_datetime(datetime.now(UTC) + timedelta(minutes=6), usegmt=True)


def undated(signed: Signed) -> None:
    signed.headers["date"] = "now"


def foreign_key(signed: Signed) -> None:
    signed.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def unknown_key_id(signed: Signed) -> None:
    signed.key_id = signed.key_id[:-2] + "00"


def without_host(signed: Signed) -> None:
    signed.signed = [name for name in signed.signed if name != "host"]


def without_target(signed: Signed) -> None:
    signed.signed = ["date", "host"]


def without_date(signed: Signed) -> None:
    signed.signed = ["(request-target)", "host"]


def other_version(signed: Signed) -> None:
    signed.version = "2"


def other_algorithm(signed: Signed) -> None:
    signed.algorithm = "hmac-sha256"


def other_query(signed: Signed) -> None:
    def change(sent: Signed) -> None:
        sent.target += "&limit=1"

    signed.after = change


def unsigned(signed: Signed) -> None:
    def change(sent: Signed) -> None:
        del sent.headers["authorization"]

    signed.after = change


def no_base64(signed: Signed) -> None:
    def change(sent: Signed) -> None:
        sent.headers["authorization"] = sent.headers["authorization"].replace('signature="', 'signature="?')

    signed.after = change


def forged_token(signed: Signed) -> None:
    token = signed.cloud.simulator.session_token(signed.key.public_key())
    signed.key_id = f"ST${token[:-6]}AAAAAA"


def expired_token(signed: Signed) -> None:
    signed.key_id = f"ST${signed.cloud.simulator.session_token(signed.key.public_key(), seconds=-1)}"


def other_body(signed: Signed) -> None:
    def change(sent: Signed) -> None:
        sent.body = sent.body.replace(b"one", b"two")

    signed.after = change


def unhashed_body(signed: Signed) -> None:
    signed.signed = [*ALWAYS, "content-length", "content-type"]


def unsigned_type(signed: Signed) -> None:
    signed.signed = [*ALWAYS, "content-length", "x-content-sha256"]


READS = [
    late,
    early,
    undated,
    foreign_key,
    unknown_key_id,
    without_host,
    without_target,
    without_date,
    other_version,
    other_algorithm,
    other_query,
    unsigned,
    no_base64,
    forged_token,
    expired_token,
]
BODY = json.dumps({"displayName": "one"}).encode()


def test_a_good_signature_passes(cloud: Ground) -> None:
    assert Signed(cloud).send().status_code == 200
    # Well signed, so it is the body that is refused.
    answer = Signed(cloud, "POST", BODY).send()
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")


def test_a_token_passes_with_the_key_that_it_carries(cloud: Ground) -> None:
    request = Signed(cloud)
    request.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    request.key_id = f"ST${cloud.simulator.session_token(request.key.public_key())}"
    assert request.send().status_code == 200


@pytest.mark.parametrize("spoil", READS, ids=lambda spoil: spoil.__name__)
def test_a_bad_signature_is_not_authenticated(cloud: Ground, spoil: Callable[[Signed], None]) -> None:
    request = Signed(cloud)
    spoil(request)
    refused(request.send())


@pytest.mark.parametrize(
    "spoil", [other_body, unhashed_body, unsigned_type, late], ids=lambda spoil: str(spoil.__name__)
)
def test_a_bad_signature_of_a_body_is_not_authenticated(cloud: Ground, spoil: Callable[[Signed], None]) -> None:
    request = Signed(cloud, "POST", BODY)
    spoil(request)
    refused(request.send())


def refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (401, "NotAuthenticated")
    assert answer.headers["opc-request-id"]
    assert answer.headers["opc-simulator"] == "uici"


def test_the_sdk_signs_with_a_session_token(cloud: Ground) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    signer = oci.auth.signers.SecurityTokenSigner(cloud.simulator.session_token(private.public_key()), private)
    client = oci.container_instances.ContainerInstanceClient(
        {"region": "us-phoenix-1"}, signer=signer, service_endpoint=cloud.simulator.url
    )
    assert client.list_container_instances(cloud.simulator.compartment).status == 200


def test_what_is_not_served_is_not_found(cloud: Ground) -> None:
    request = Signed(cloud)
    request.target = "/20210415/nothing"
    answer = request.send()
    assert (answer.status_code, answer.json()["code"]) == (404, "NotFound")


def test_the_sdks_circuit_breaker_opens_after_failures(cloud: Ground) -> None:
    breaker = oci.circuit_breaker.CircuitBreakerStrategy(failure_threshold=3, recovery_timeout=60)
    client = cloud.new_client(CONTAINERS, circuit_breaker_strategy=breaker)
    cloud.simulator.order(Order("fail", count=3))
    for _ in range(3):
        with pytest.raises(oci.exceptions.TransientServiceError):
            client.list_container_instances(cloud.simulator.compartment)
    with pytest.raises(oci.base_client.circuitbreaker.CircuitBreakerError):
        client.list_container_instances(cloud.simulator.compartment)
