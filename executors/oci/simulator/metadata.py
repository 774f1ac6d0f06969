"""The instance metadata service and the federation of instance principals, for every instance of the cloud.

A client is sent to `ADMIN/imds/INSTANCE/opc/v2` by OCI_METADATA_BASE_URL, and to `ADMIN/v1/x509` as its
`federation_endpoint`. https://docs.oracle.com/en-us/iaas/Content/Compute/Tasks/gettingmetadata.htm
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from executors.oci.simulator.cloud import REGION, Cloud
from executors.oci.simulator.credentials import Credentials
from executors.oci.simulator.refusals import RefusedError, not_authenticated
from executors.oci.simulator.signatures import SignedRequest, authenticate
from executors.oci.simulator.state import Resource

_HEADER = "Bearer Oracle"
_LIFE = timedelta(days=1)
_TENANT, _INSTANCE = "opc-tenant:", "opc-instance:"


class InstanceIdentity:
    """Certificates of the instances, and the tokens that are given for them."""

    def __init__(self, cloud: Cloud, credentials: Credentials) -> None:
        self._cloud = cloud
        self._credentials = credentials
        self._leaves: dict[str, tuple[rsa.RSAPrivateKey, x509.Certificate]] = {}
        self._authority = self._certificate("PKISVC Identity Intermediate", credentials.issuer.public_key())

    def routes(self) -> list[Route]:
        """Of the metadata service and of the federation."""
        base = "/imds/{instance}/opc/v2"
        return [
            Route(f"{base}/instance/", self._of_instance(self._instance)),
            Route(f"{base}/instance/region", self._of_instance(lambda instance: PlainTextResponse(REGION))),
            Route(f"{base}/identity/{{part}}.pem", self._identity),
            Route("/v1/x509", self._federate, methods=["POST"]),
        ]

    def _of_instance(self, answer: Callable[[Resource], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            instance = self._asked(request)
            return Response(status_code=404) if instance is None else answer(instance)

        return handle

    def _asked(self, request: Request) -> Resource | None:
        if request.headers.get("authorization") != _HEADER:
            return None
        return self._cloud.state.get("instance", request.path_params["instance"])

    def _instance(self, instance: Resource) -> Response:
        shown = {key: value for key, value in instance.wire.items() if key not in {"lifecycleState", "sourceDetails"}}
        return JSONResponse({**shown, "canonicalRegionName": REGION, "tenantId": self._cloud.tenancy})

    async def _identity(self, request: Request) -> Response:
        instance = self._asked(request)
        if instance is None:
            return Response(status_code=404)
        key, leaf = self._leaf(instance)
        parts = {
            "cert": leaf.public_bytes(serialization.Encoding.PEM),
            "intermediate": self._authority.public_bytes(serialization.Encoding.PEM),
            "key": key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        }
        found = parts.get(request.path_params["part"])
        return Response(status_code=404) if found is None else PlainTextResponse(found)

    def _leaf(self, instance: Resource) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
        if instance.id not in self._leaves:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            units = (f"{_INSTANCE}{instance.id}", f"{_TENANT}{self._cloud.tenancy}")
            self._leaves[instance.id] = key, self._certificate("instance", key.public_key(), *units)
        return self._leaves[instance.id]

    def _certificate(self, name: str, key: rsa.RSAPublicKey, *units: str) -> x509.Certificate:
        now = datetime.now(UTC)
        attributes = [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]
        # An OCID is longer than the 64 characters that a certificate's unit should have; Oracle's have it all the same.
        attributes += [
            x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, unit, _validate=False) for unit in units
        ]
        builder = x509.CertificateBuilder(
            issuer_name=x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "UICI simulator")]),
            subject_name=x509.Name(attributes),
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(minutes=5),
            not_valid_after=now + _LIFE,
        )
        return builder.sign(self._credentials.issuer, hashes.SHA256())

    async def _federate(self, request: Request) -> Response:
        """A token for the session key of an instance whose certificate this cloud has issued."""
        body = await request.body()
        try:
            asked = json.loads(body)
            certificate = x509.load_der_x509_certificate(base64.b64decode(asked["certificate"]))
            session = serialization.load_der_public_key(base64.b64decode(asked["publicKey"]))
            instance = self._verified(certificate, request, body)
        except RefusedError as refused:
            return JSONResponse({"code": refused.code, "message": refused.message}, refused.status)
        except (ValueError, KeyError, TypeError) as error:
            return JSONResponse({"code": "InvalidParameter", "message": str(error)}, 400)
        if not isinstance(session, rsa.RSAPublicKey):
            return JSONResponse({"code": "InvalidParameter", "message": "publicKey is no RSA key"}, 400)
        return JSONResponse({"token": self._credentials.token(session, sub=instance, ptype="instance")})

    def _verified(self, certificate: x509.Certificate, request: Request, body: bytes) -> str:
        key = certificate.public_key()
        units = certificate.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATIONAL_UNIT_NAME)
        names = [str(unit.value) for unit in units]
        instance = next((name.removeprefix(_INSTANCE) for name in names if name.startswith(_INSTANCE)), "")
        try:
            self._credentials.issuer.public_key().verify(
                certificate.signature, certificate.tbs_certificate_bytes, padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            raise not_authenticated() from None
        if not isinstance(key, rsa.RSAPublicKey) or self._cloud.state.get("instance", instance) is None:
            raise not_authenticated()
        signed = SignedRequest("POST", request.url.path, dict(request.headers), body)
        key_id = authenticate(signed, lambda _: key, datetime.now(UTC), with_host=False)
        if not key_id.startswith(f"{self._cloud.tenancy}/fed-x509"):
            raise not_authenticated()
        return instance
