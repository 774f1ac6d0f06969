"""The simulator of Oracle Cloud: Monitoring, Logging search and Container Engine, by the SDK's clients."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import oci
import pytest

from executors.oci.simulator.mql import parsed
from executors.oci.simulator.refusals import RefusedError
from tests.integration.oci_ground import Ground

NAMESPACE = "oci_computecontainerinstance"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("oci"))
    yield ground
    ground.close()


def summarized(cloud: Ground, query: str, namespace: str = NAMESPACE) -> Any:
    now = datetime.now(UTC)
    details = oci.monitoring.models.SummarizeMetricsDataDetails(
        namespace=namespace, query=query, start_time=now - timedelta(minutes=10), end_time=now
    )
    return cloud.client("monitoring.MonitoringClient").summarize_metrics_data(cloud.simulator.compartment, details).data


def test_what_runs_has_metrics(cloud: Ground) -> None:
    made, other = cloud.instance(), cloud.instance()
    [series] = summarized(cloud, f'CpuUtilization[1m]{{resourceId = "{made.id}"}}.mean()')
    assert series.dimensions["resourceId"] == made.id
    assert {point.value for point in series.aggregated_datapoints} == {12.0}
    cloud.simulator.ail(made.id, "hang")
    [series] = summarized(cloud, f'CpuUtilization[1m]{{resourceId = "{made.id}"}}.max() > 90')
    assert series.aggregated_datapoints[-1].value == 1.0
    cloud.simulator.measure(other.id, MemoryUtilization=97.0)
    [series] = summarized(cloud, f'MemoryUtilization[1m]{{resourceId = "{other.id}"}}.grouping().max()')
    assert (series.dimensions, series.aggregated_datapoints[-1].value) == ({}, 97.0)


def test_what_does_not_run_has_none(cloud: Ground) -> None:
    made = cloud.instance()
    cloud.finished(cloud.containers.stop_container_instance(made.id).headers["opc-work-request-id"])
    assert summarized(cloud, f'CpuUtilization[1m]{{resourceId = "{made.id}"}}.mean()') == []
    [series] = summarized(cloud, f'CpuUtilization[1m]{{resourceId = "{made.id}"}}.absent()')
    assert {point.value for point in series.aggregated_datapoints} == {1.0}


def test_metrics_can_be_posted_and_listed(cloud: Ground) -> None:
    models = oci.monitoring.models
    client = cloud.client("monitoring.MonitoringClient")
    now = datetime.now(UTC)
    points = [models.Datapoint(timestamp=now - timedelta(seconds=step), value=float(step)) for step in (30, 40)]
    posted = models.MetricDataDetails(
        namespace="shop",
        name="orders",
        compartment_id=cloud.simulator.compartment,
        dimensions={"store": "a"},
        datapoints=points,
    )
    client.post_metric_data(models.PostMetricDataDetails(metric_data=[posted]))
    listed = client.list_metrics(cloud.simulator.compartment, models.ListMetricsDetails(namespace="shop")).data
    assert [(one.name, one.dimensions) for one in listed] == [("orders", {"store": "a"})]
    [series] = summarized(cloud, 'orders[1h]{store =~ "a|b"}.sum()', "shop")
    assert sum(point.value for point in series.aggregated_datapoints) == 70.0


def test_a_query_that_is_none_is_refused(cloud: Ground) -> None:
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        summarized(cloud, "CpuUtilization.mean()")
    assert (refused.value.status, refused.value.code) == (400, "InvalidParameter")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("m[1m].mean()", 2.5),
        ("m[1m].avg()", 2.5),
        ("m[1m].max()", 4.0),
        ("m[1m].min()", 1.0),
        ("m[1m].sum()", 10.0),
        ("m[1m].count()", 4.0),
        ("m[1m].first()", 1.0),
        ("m[1m].last()", 4.0),
        ("m[1m].rate()", 0.05),
        ("m[1m].increment()", 3.0),
        ("m[1m].percentile(0.5)", 3.0),
        ("m[1m].absent()", 0.0),
        ("m[1m].mean() >= 2.5", 1.0),
        ("m[1m].mean() in (3, 4)", 0.0),
        ("m[1m].mean() not in (3, 4)", 1.0),
        ('m[auto]{a = "b"}.groupBy(a).mean() != 2.5', 0.0),
    ],
)
def test_each_statistic_and_comparison(text: str, value: float) -> None:
    points = [(10.0, 1.0), (20.0, 2.0), (30.0, 3.0), (40.0, 4.0)]
    [(at, found)] = parsed(text).aggregated(points, 0, 60)
    assert (at, round(found, 6)) == (60.0, value)


@pytest.mark.parametrize(
    ("filters", "keeps"),
    [('a = "x"', True), ('a != "x"', False), ('a =~ "y|x*"', True), ('a = "x", b = "z"', False), ('b != "z"', True)],
)
def test_each_filter(filters: str, keeps: bool) -> None:
    assert parsed(f"m[5m]{{{filters}}}.mean()").keeps({"a": "x"}) is keeps


@pytest.mark.parametrize("text", ["m.mean()", "m[1m]", "m[1s].mean()", "m[1m].median()", "m[1m]{a b}.mean()", ""])
def test_what_is_no_query(text: str) -> None:
    with pytest.raises(RefusedError):
        parsed(text)


def searched(cloud: Ground, query: str, **options: Any) -> Any:
    now = datetime.now(UTC)
    details = oci.loggingsearch.models.SearchLogsDetails(
        time_start=now - timedelta(days=1), time_end=now + timedelta(minutes=1), search_query=query
    )
    return cloud.client("loggingsearch.LogSearchClient").search_logs(details, **options)


def test_a_programs_lines_are_found(cloud: Ground) -> None:
    made = cloud.instance()
    cloud.simulator.ail(made.id, "disk_full")
    scope = f'search "{cloud.simulator.compartment}/apps/{made.id}"'
    found = searched(cloud, f"{scope} | sort by datetime asc").data
    messages = [one.data["logContent"]["data"]["message"] for one in found.results]
    assert messages == ["starting web:good", "ready", "write failed: No space left on device"]
    assert found.summary.result_count == 3
    [one] = searched(cloud, f"{scope} | where data.message = '*space*'").data.results
    assert "No space" in one.data["logContent"]["data"]["message"]
    assert len(searched(cloud, f"{scope} | where data.message != '*space*' | limit 1").data.results) == 1
    first = searched(cloud, scope, limit=2)
    assert (len(first.data.results), first.has_next_page) == (2, True)
    assert len(searched(cloud, scope, limit=2, page=first.next_page).data.results) == 1


@pytest.mark.parametrize("query", ["find", "search", 'search "x" | explode', "search \"x\" | where a ~ 'b'"])
def test_a_search_that_is_none_is_refused(cloud: Ground, query: str) -> None:
    with pytest.raises(oci.exceptions.ServiceError) as refused:
        searched(cloud, query.replace('"x"', f'"{cloud.simulator.compartment}"'))
    assert (refused.value.status, refused.value.code) == (400, "InvalidParameter")


def cluster_token(cloud: Ground, cluster: str) -> str:
    """As `oci ce cluster generate-token` makes it: a signed request, as an address."""
    host = "containerengine.us-phoenix-1.oraclecloud.com"
    url = f"https://{host}/cluster_request/{cluster}"
    signer = oci.signer.Signer.from_config(cloud.config)
    request = oci._vendor.requests.Request("GET", url, auth=signer)
    request.headers["date"] = format_datetime(datetime.now(UTC), usegmt=True)
    signed = request.prepare().headers
    query = urlencode({"authorization": signed["authorization"], "date": signed["date"]})
    return base64.urlsafe_b64encode(f"{url}?{query}".encode()).decode()


def test_a_cluster_is_reached_with_a_token(cloud: Ground) -> None:
    cluster = cloud.simulator.add_cluster("one", "https://127.0.0.1:6443", "Q0E=")
    client = cloud.client("container_engine.ContainerEngineClient")
    assert [one.id for one in client.list_clusters(cloud.simulator.compartment, name="one").data] == [cluster]
    assert client.get_cluster(cluster).data.endpoints.public_endpoint == "127.0.0.1:6443"
    kubeconfig = json.loads(client.create_kubeconfig(cluster).data.text)
    assert kubeconfig["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert kubeconfig["users"][0]["user"]["exec"]["args"][:3] == ["ce", "cluster", "generate-token"]
    good, spoiled = cluster_token(cloud, cluster), cluster_token(cloud, cluster)[:-8]
    for token, known in ((good, True), (spoiled, False), ("nonsense", False)):
        review = httpx.post(f"{cloud.simulator.admin_url}/tokenreviews", json={"spec": {"token": token}}).json()
        assert review["status"]["authenticated"] is known
        assert (review["status"].get("user", {}).get("username") == cloud.config["user"]) is known
