"""The simulator of Oracle Cloud as a process of its own: its admin channel, and what is left after kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import oci

from tests.integration.oci_ground import instance_details
from tests.waiting import until


@contextmanager
def process(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    command = [sys.executable, "-m", "executors.oci.simulator", "--state", str(folder), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        try:
            yield running, json.loads(running.stdout.readline())
        finally:
            if running.poll() is None:
                os.kill(running.pid, signal.SIGTERM)
                assert running.wait(20) == 0


def client_of(told: dict[str, Any], service: str, name: str) -> Any:
    config = oci.config.from_file(told["config_file"])
    return getattr(getattr(oci, service), name)(
        config, service_endpoint=told["endpoint"], retry_strategy=oci.retry.NoneRetryStrategy()
    )


def test_a_killed_simulator_goes_on_where_it_was(tmp_path: Path) -> None:
    with process(tmp_path, "--speed", "200") as (running, told):
        assert told["simulation"] is True
        details = instance_details(told["compartment"], told["subnet"])
        client = client_of(told, "container_instances", "ContainerInstanceClient")
        made = client.create_container_instance(details, opc_retry_token="once").data
        until(lambda: client.get_container_instance(made.id).data.lifecycle_state == "ACTIVE", "it runs")
        httpx.post(f"{told['admin']}/orders", json={"trouble": "slow_work", "seconds": 3600}).raise_for_status()
        work = client.stop_container_instance(made.id).headers["opc-work-request-id"]
        effects = httpx.get(f"{told['admin']}/effects").json()
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    with process(tmp_path, "--speed", "200") as (_, again):
        assert (again["tenancy"], again["compartment"]) == (told["tenancy"], told["compartment"])
        client = client_of(again, "container_instances", "ContainerInstanceClient")
        assert httpx.get(f"{again['admin']}/effects").json() == effects
        assert client.create_container_instance(details, opc_retry_token="once").data.id == made.id
        assert client.get_container_instance(made.id).data.lifecycle_state == "UPDATING"
        vnic = client.get_container_instance(made.id).data.vnics[0].vnic_id
        address = client_of(again, "core", "VirtualNetworkClient").get_vnic(vnic).data.private_ip
        assert httpx.get(f"http://{address}:8080/").status_code == 200
        httpx.post(f"{again['admin']}/advance", json={"seconds": 3601}).raise_for_status()
        assert client.get_work_request(work).data.status == "SUCCEEDED"
        assert client.get_container_instance(made.id).data.lifecycle_state == "INACTIVE"


def test_the_admin_channel_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    with process(tmp_path) as (_, told):
        answer = httpx.post(f"{told['admin']}/orders", json={"trouble": "boredom"})
        assert answer.status_code == 400
        assert "throttle" in answer.json()["error"]
        order = {"trouble": "throttle", "operation": "*.list_*", "count": 2}
        httpx.post(f"{told['admin']}/orders", json=order).raise_for_status()
        assert [one["count"] for one in httpx.get(f"{told['admin']}/orders").json()] == [2]
        httpx.delete(f"{told['admin']}/orders").raise_for_status()
        assert httpx.get(f"{told['admin']}/orders").json() == []
        missing = httpx.post(f"{told['admin']}/ailments", json={"resource": "nothing", "kind": "hang"})
        assert missing.status_code == 400
