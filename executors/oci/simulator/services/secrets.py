"""Vault: secrets are made and replaced in the one service, and their current content is retrieved from the other."""

from __future__ import annotations

from executors.oci.simulator.cloud import Cloud
from executors.oci.simulator.refusals import missing_parameter, not_found
from executors.oci.simulator.serving import Answer, Call, serves, shown
from executors.oci.simulator.shapes import projected
from executors.oci.simulator.state import Resource
from uici.model.base import JsonObject

_VAULTS = "vault.VaultsClient"
_SECRETS = "secrets.SecretsClient"
_KIND = "vaultsecret"


@serves(f"{_VAULTS}.create_secret")
def _create(cloud: Cloud, call: Call) -> Answer:
    cloud.need_compartment(call.body["compartmentId"])
    made = Resource(_KIND, cloud.new_id(_KIND), {})
    made.wire = {
        **projected(call.body, "Secret", call.operation.types),
        "id": made.id,
        "lifecycleState": "ACTIVE",
        "timeCreated": cloud.moment(),
        "currentVersionNumber": 1,
    }
    made.hidden = {"content": _content(call.body)}
    return _kept(cloud, call, made, "create accepted")


@serves(f"{_VAULTS}.update_secret")
def _update(cloud: Cloud, call: Call) -> Answer:
    made = cloud.need(_KIND, call.path["secretId"])
    call.must_match(made)
    made.wire["currentVersionNumber"] += 1
    made.hidden = {"content": _content(call.body)}
    return _kept(cloud, call, made, "update accepted")


def _kept(cloud: Cloud, call: Call, made: Resource, effect: str) -> Answer:
    cloud.state.put(made)
    cloud.record(call, made.id, effect)
    return shown(made)


def _content(body: JsonObject) -> str:
    content = (body.get("secretContent") or {}).get("content")
    if not content:
        raise missing_parameter("secretContent")
    return str(content)


@serves(f"{_SECRETS}.get_secret_bundle")
def _bundle(cloud: Cloud, call: Call) -> Answer:
    return _seen(cloud.need(_KIND, call.path["secretId"]))


@serves(f"{_SECRETS}.get_secret_bundle_by_name")
def _bundle_by_name(cloud: Cloud, call: Call) -> Answer:
    name, vault = call.asked("secretName"), call.asked("vaultId")
    for made in cloud.state.find(_KIND):
        if (made.wire["secretName"], made.wire["vaultId"]) == (name, vault):
            return _seen(made)
    raise not_found(f"the secret {name}")


def _seen(made: Resource) -> Answer:
    body = {
        "secretId": made.id,
        "versionNumber": made.wire["currentVersionNumber"],
        "timeCreated": made.wire["timeCreated"],
        "secretBundleContent": {"contentType": "BASE64", "content": made.hidden["content"]},
        "stages": ["CURRENT", "LATEST"],
    }
    return Answer(body=body, headers={"etag": made.etag})
