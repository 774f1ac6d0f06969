"""Container Engine: clusters, and the kubeconfig that reaches them with a token of Oracle Cloud.

The kubeconfig's `exec`: https://docs.oracle.com/en-us/iaas/Content/ContEng/Tasks/contengdownloadkubeconfigfile.htm
A cluster's API server is any that a test names; the simulator itself runs no Kubernetes.
"""

from __future__ import annotations

import json

from executors.oci.simulator.cloud import REGION, Cloud
from executors.oci.simulator.refusals import incorrect_state
from executors.oci.simulator.serving import Answer, Call, listed, page, serves, shown
from executors.oci.simulator.state import Resource

_CLIENT = "container_engine.ContainerEngineClient"


def add(cloud: Cloud, name: str, server: str, certificate_authority: str) -> str:
    """A cluster whose API server is at `server`; the authority is base64 of PEM, as in a kubeconfig."""
    made = Resource("cluster", cloud.new_id("cluster"), {}, {"server": server, "authority": certificate_authority})
    host = server.removeprefix("https://")
    made.wire = {
        "id": made.id,
        "name": name,
        "compartmentId": cloud.state.fact("compartment"),
        "kubernetesVersion": "v1.31.1",
        "lifecycleState": "ACTIVE",
        "type": "ENHANCED_CLUSTER",
        "endpoints": {"publicEndpoint": host, "privateEndpoint": host},
        "metadata": {"timeCreated": cloud.moment()},
    }
    cloud.state.put(made)
    return made.id


@serves(f"{_CLIENT}.list_clusters")
def _list(cloud: Cloud, call: Call) -> Answer:
    return listed(call, cloud.in_compartment("cluster", call.asked("compartmentId")), "name", "lifecycleState")


@serves(f"{_CLIENT}.get_cluster")
def _get(cloud: Cloud, call: Call) -> Answer:
    return shown(cloud.need("cluster", call.path["clusterId"]))


@serves(f"{_CLIENT}.list_node_pools")
def _node_pools(cloud: Cloud, call: Call) -> Answer:
    cloud.need_compartment(call.asked("compartmentId"))
    return page(call, [])


@serves(f"{_CLIENT}.create_kubeconfig")
def _kubeconfig(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need("cluster", call.path["clusterId"])
    if made.wire["lifecycleState"] != "ACTIVE":
        raise incorrect_state(f"The cluster is {made.wire['lifecycleState']}")
    short = made.id[-11:]
    arguments = ["ce", "cluster", "generate-token", "--cluster-id", made.id, "--region", REGION]
    command = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "oci",
        "args": arguments,
        "env": [],
        "interactiveMode": "Never",
    }
    cluster = {"server": made.hidden["server"], "certificate-authority-data": made.hidden["authority"]}
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": f"cluster-{short}", "cluster": cluster}],
        "users": [{"name": f"user-{short}", "user": {"exec": command}}],
        "contexts": [{"name": f"context-{short}", "context": {"cluster": f"cluster-{short}", "user": f"user-{short}"}}],
        "current-context": f"context-{short}",
    }
    return Answer(body=json.dumps(kubeconfig, indent=2).encode())  # JSON is YAML
