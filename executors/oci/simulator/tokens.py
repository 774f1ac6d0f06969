"""Tokens for Container Engine's clusters: who signed one, as the cluster's own webhook would tell.

A token is a signed request for the cluster, as an address: https://github.com/oracle/oci-cli (`ce cluster
generate-token`). An API server that is started with the admin channel's `/tokenreviews/CLUSTER` as its authentication
webhook takes these tokens for real, and none that is for another cluster.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import parse_qs, urlsplit

from executors.oci.simulator.refusals import RefusedError
from executors.oci.simulator.signatures import KeyFinder, SignedRequest, authenticate
from uici.model.base import JsonObject


def signer(token: str, keys: KeyFinder, now: datetime) -> tuple[str, str] | None:
    """The key id that signed a token and the cluster it is for; None when it is not good."""
    try:
        address = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        headers: Mapping[str, str] = {
            "authorization": query["authorization"],
            "date": query["date"],
            "host": address.netloc,
        }
        key_id = authenticate(SignedRequest("GET", address.path, headers, b""), keys, now)
    except (RefusedError, KeyError, ValueError, binascii.Error):
        return None
    return key_id, address.path.rsplit("/", 1)[-1]


def review(token: str, keys: KeyFinder, now: datetime, cluster: str | None = None) -> JsonObject:
    """What the authentication webhook of one cluster answers, or of any: a TokenReview with its status."""
    found = signer(token, keys, now)
    status: JsonObject = {"authenticated": False}
    if found is not None and cluster in (None, found[1]):
        user = found[0].split("/")[1] if "/" in found[0] else "principal"
        status = {"authenticated": True, "user": {"username": user, "groups": ["system:authenticated"]}}
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}
