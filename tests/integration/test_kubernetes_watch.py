"""Following objects of a real API server: nothing is missed, and nothing is listed without need."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from executors.deadline import Deadline
from executors.kubernetes import watching
from executors.kubernetes.cluster import Cluster
from executors.kubernetes.settings import KubernetesSettings
from executors.kubernetes.watching import Seen, Watch, What, changed
from tests.integration.kubernetes_ground import crd
from tests.real.kubernetes import RealCluster
from uici.model.base import JsonObject
from uici.model.call import CallError


@pytest.fixture
def cluster(real_cluster: RealCluster) -> Iterator[Cluster]:
    made = Cluster(KubernetesSettings.model_validate(real_cluster.connection), "test")
    yield made
    made.close()


def configmaps(cluster: Cluster, namespace: str, **more: str) -> Watch:
    return Watch(cluster, cluster.resource("ConfigMap"), namespace, labels="of=test", **more)  # type: ignore[arg-type]  # only texts are given


def make(cluster: Cluster, namespace: str, name: str, **data: str) -> JsonObject:
    body = {"metadata": {"name": name, "labels": {"of": "test"}}, "data": data}
    return cluster.create(cluster.resource("ConfigMap"), namespace, body, Deadline(15))


def told(seen: Seen) -> tuple[str, str, str]:
    metadata = seen.thing.get("metadata") or {}
    return seen.what.value, metadata.get("name", ""), (seen.thing.get("data") or {}).get("a", "")


def test_what_there_is_and_then_each_change(cluster: Cluster, namespace: str) -> None:
    resource = cluster.resource("ConfigMap")
    make(cluster, namespace, "first", a="1")
    make(cluster, namespace, "second", a="1")
    watch = configmaps(cluster, namespace)
    changes = watch.changes(Deadline(60))
    assert [told(next(changes)) for _ in range(3)] == [
        ("there", "first", "1"), ("there", "second", "1"), ("all told", "", "")
    ]  # fmt: skip
    cluster.patch(resource, namespace, "first", {"data": {"a": "2"}}, Deadline(15))
    cluster.delete(resource, namespace, "second", Deadline(15))
    make(cluster, namespace, "third", a="3")
    assert [told(next(changes)) for _ in range(3)] == [
        ("there", "first", "2"), ("gone", "second", "1"), ("there", "third", "3")
    ]  # fmt: skip
    changes.close()
    assert watch.listed == 1


def test_nothing_is_missed_between_two_requests(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_LONGEST_REQUEST", 1.0)
    watch = configmaps(cluster, namespace)
    names = [f"number-{at}" for at in range(40)]
    maker = threading.Thread(target=lambda: [make(cluster, namespace, name) for name in names])
    changes = watch.changes(Deadline(90))
    assert next(changes).what is What.ALL_TOLD
    maker.start()
    seen: list[str] = []
    for one in changes:
        seen.append(one.thing["metadata"]["name"])
        if len(seen) % 10 == 0:
            # The server's end of this request comes meanwhile, and the next begins where it ended.
            threading.Event().wait(1.2)
        if seen[-1] == names[-1]:
            break
    maker.join()
    assert seen == names
    assert watch.listed == 1


def test_after_410_all_is_listed_anew(real_cluster: RealCluster, cluster: Cluster, namespace: str) -> None:
    # What a server remembers of a kind of its own begins when it begins to serve it. Of the others it may go back to
    # the cluster's first day: all the while, or until it has filled its memory, which it then enlarges.
    crd(real_cluster, "watched.test", "v1", "Thing")
    resource = cluster.resource("Thing", "watched.test")

    def make_thing(name: str) -> None:
        body = {"apiVersion": resource.api_version, "kind": "Thing", "metadata": {"name": name}, "data": {"a": "1"}}
        cluster.create(resource, namespace, body, Deadline(15))

    make_thing("first")
    watch = Watch(cluster, resource, namespace)
    watch.version = "1"  # before there was the kind
    changes = watch.changes(Deadline(60))
    assert [told(next(changes)) for _ in range(2)] == [("there", "first", "1"), ("all told", "", "")]
    assert watch.listed == 1
    make_thing("second")
    assert told(next(changes)) == ("there", "second", "1")
    changes.close()
    assert watch.listed == 1


def test_bookmarks_move_on_while_nothing_changes(cluster: Cluster, namespace: str) -> None:
    watch = configmaps(cluster, namespace)
    # The server sends a bookmark two seconds before the end: all must have been made by then.
    changes = watch.changes(Deadline(20))
    assert next(changes).what is What.ALL_TOLD
    began = int(watch.version)
    unlabelled = {"metadata": {"name": "other"}}
    for at in range(5):
        name = {"metadata": {"name": f"other-{at}"}}
        cluster.create(cluster.resource("ConfigMap"), namespace, {**unlabelled, **name}, Deadline(15))
    assert list(changes) == []
    assert int(watch.version) >= began + 5


def test_waiting_ends_with_the_change_or_in_time(cluster: Cluster, namespace: str) -> None:
    resource = cluster.resource("ConfigMap")
    found = make(cluster, namespace, "first", a="1")
    assert changed(cluster, resource, found, 0.5, Deadline(15)) is None
    newer = cluster.patch(resource, namespace, "first", {"data": {"a": "2"}}, Deadline(15))
    # The change was there before anybody waited for it.
    seen = changed(cluster, resource, found, 30, Deadline(60))
    assert seen is not None
    assert seen["data"] == {"a": "2"}
    cluster.delete(resource, namespace, "first", Deadline(15))
    assert changed(cluster, resource, newer, 30, Deadline(60)) is None


def test_what_may_not_be_watched_says_which_right_is_missing(real_cluster: RealCluster, namespace: str) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    settings = KubernetesSettings.model_validate(real_cluster.account(namespace, rules, []))
    cluster = Cluster(settings, "test")
    watch = Watch(cluster, cluster.resource("ConfigMap"), namespace)
    with pytest.raises(CallError) as caught:
        list(watch.changes(Deadline(20)))
    cluster.close()
    assert caught.value.code == "forbidden"
    assert "may not watch configmaps" in caught.value.message
