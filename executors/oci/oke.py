"""Tokens of Oracle Cloud for a cluster of Container Engine (OKE), as kubectl's credential plugins give them.

An environment of the platform `kubernetes` reaches such a cluster by a kubeconfig whose user runs

    python -m executors.oci.oke --cluster-id OCID --region REGION [--auth KIND] [--config-file FILE] [--profile NAME]

in the place of Oracle's command line. The token is a signed request for the cluster, which its API server has verified:
https://docs.oracle.com/en-us/iaas/Content/ContEng/Tasks/contengdownloadkubeconfigfile.htm
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import urlencode

from executors.oci.connection import Cloud
from executors.oci.settings import OciSettings
from uici.model.base import JsonObject
from uici.model.call import CallError

_LASTS = timedelta(minutes=4)
"""The services take a signature that is five minutes old."""


def token(cloud: Cloud, cluster: str, region: str) -> str:
    """A bearer token for one cluster. Raises CallError(PERMANENT) without SDK or credentials."""
    signer = cloud.signer()
    import oci

    url = f"https://containerengine.{region}.oraclecloud.com/cluster_request/{cluster}"
    request = oci._vendor.requests.Request("GET", url, auth=signer)
    request.headers["date"] = format_datetime(datetime.now(UTC), usegmt=True)
    signed = request.prepare().headers
    query = urlencode({"authorization": signed["authorization"], "date": signed["date"]})
    return base64.urlsafe_b64encode(f"{url}?{query}".encode()).decode()


def credential(cloud: Cloud, cluster: str, region: str) -> JsonObject:
    """The answer of a credential plugin. Raises CallError as `token`."""
    expires = datetime.now(UTC) + _LASTS
    return {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "kind": "ExecCredential",
        "status": {
            "token": token(cloud, cluster, region),
            "expirationTimestamp": expires.isoformat(timespec="seconds").replace("+00:00", "Z"),
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write the credential to standard output; what is wrong to standard error, with 1 as exit code."""
    parser = argparse.ArgumentParser(prog="python -m executors.oci.oke", description="a token for an OKE cluster")
    parser.add_argument("--cluster-id", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--auth", default="config_file", help="as connection.auth.kind of an oci environment")
    parser.add_argument("--config-file", default="~/.oci/config")
    parser.add_argument("--profile", default="DEFAULT")
    given = parser.parse_args(argv)
    auth = {"kind": given.auth, "file": given.config_file, "profile": given.profile}
    try:
        settings = OciSettings.model_validate({"auth": auth, "region": given.region})
        answer = credential(Cloud(settings, "oke"), given.cluster_id, given.region)
    except (CallError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
