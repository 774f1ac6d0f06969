"""Single pods, schedules, jobs and events on a real cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from executors.kubernetes import KubernetesExecutor
from tests.integration.kubernetes_ground import binding, make_call, new_executor, proved, workload
from tests.real.kubernetes import REPOSITORY, RealCluster
from tests.waiting import until
from uici.model.base import JsonObject
from uici.model.call import CallError, Happened
from uici.model.identity import SelfIdentity


@pytest.fixture
def executor(real_cluster: RealCluster) -> Iterator[KubernetesExecutor]:
    made = new_executor(real_cluster)
    yield made
    made.close()


def refusal(action: Callable[[], object]) -> CallError:
    with pytest.raises(CallError) as caught:
        action()
    return caught.value


def pods(cluster: RealCluster, namespace: str) -> dict[str, str]:
    """Name -> uid of those that run."""
    listed = cluster.get("-n", namespace, "pods")["items"]
    return {
        pod["metadata"]["name"]: pod["metadata"]["uid"]
        for pod in listed
        if "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") == "Running"
    }


def job_template(program: str) -> JsonObject:
    container = {
        "name": "job",
        "image": f"{REPOSITORY}:good",
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", program],
    }
    pod: JsonObject = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    return {"spec": {"backoffLimit": 0, "template": {"spec": pod}}}


def schedule(namespace: str, cluster: RealCluster, name: str = "nightly") -> JsonObject:
    listed = cluster.kubectl("api-resources", "--api-group=batch", "--no-headers")
    version = next(line.split()[-3] for line in listed.splitlines() if line.startswith("cronjobs"))
    return {
        "apiVersion": version,
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"schedule": "0 3 1 1 *", "jobTemplate": job_template("exit 0")},
    }


def test_a_named_pod_is_replaced_and_the_others_stay(
    real_cluster: RealCluster, executor: KubernetesExecutor, namespace: str
) -> None:
    target = binding("Deployment", namespace, "web")
    real_cluster.apply(workload("Deployment", namespace, "web", 2))
    until(lambda: len(pods(real_cluster, namespace)) == 2, "both pods run")
    before = pods(real_cluster, namespace)
    gone, stays = sorted(before)
    absent = refusal(lambda: executor.perform(make_call("workload.replace", target=target, instance="other")))
    assert absent.code == "instance_not_found"
    assert gone in absent.message
    replaced = proved(executor, "workload.replace", target=target, instance=gone)
    assert replaced["instances"] == [gone]
    until(lambda: len(pods(real_cluster, namespace)) == 2, "another pod runs")
    now = pods(real_cluster, namespace)
    assert now[stays] == before[stays]
    assert gone not in now
    mine = new_executor(real_cluster, SelfIdentity(names=frozenset({stays})))
    own = refusal(lambda: mine.perform(make_call("workload.replace", target=target, instance=stays)))
    mine.close()
    assert own.code == "self_target"


def test_only_unhealthy_pods_are_replaced_and_one_that_hangs_is_not_forced(
    real_cluster: RealCluster, executor: KubernetesExecutor, namespace: str
) -> None:
    target = binding("Deployment", namespace, "web")
    real_cluster.apply(workload("Deployment", namespace, "web", command=["sh", "-c", "exit 3"]))
    replace = make_call("workload.replace", target=target)
    looping = f"-n {namespace} get pods -o jsonpath={{.items[*].status.containerStatuses[*].state.waiting.reason}}"
    until(lambda: "CrashLoopBackOff" in real_cluster.kubectl(*looping.split()), "the pod crashes again and again")
    done = proved(executor, "workload.replace", target=target)
    assert len(done["instances"]) == 1
    real_cluster.apply(workload("Deployment", namespace, "web"))
    until(
        lambda: executor.perform(replace)["changed"] is False and len(pods(real_cluster, namespace)) == 1, "it is well"
    )
    # A finalizer keeps it in the API, as a node that is gone would.
    (name,) = pods(real_cluster, namespace)
    finalizers = '{"metadata": {"finalizers": %s}}'
    real_cluster.kubectl("-n", namespace, "patch", "pod", name, "-p", finalizers % '["uici.io/test"]')
    try:
        real_cluster.kubectl("-n", namespace, "delete", "pod", name, "--wait=false")
        for force in (False, True):
            # Even by force no pod goes before its own time.
            call = make_call("workload.replace", target=target, instance=name, force=force)
            named = refusal(lambda call=call: executor.perform(call))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            assert named.code == "instance_terminating"
            assert "uici.io/test" in named.message
        until(lambda: any(name in one for one in executor.perform(replace)["kept"]), "it hangs")
        assert executor.perform(replace)["changed"] is False
    finally:
        real_cluster.kubectl("-n", namespace, "patch", "pod", name, "--type=merge", "-p", finalizers % "null")


def test_a_schedule_is_suspended_and_resumed_and_run_now(
    real_cluster: RealCluster, executor: KubernetesExecutor, namespace: str
) -> None:
    target = binding("CronJob", namespace, "nightly")
    real_cluster.apply(schedule(namespace, real_cluster))
    state = make_call("schedule.state", target=target)
    assert executor.perform(state)["suspended"] is False
    assert proved(executor, "schedule.suspend", target=target) == {"changed": True}
    assert executor.perform(make_call("schedule.suspend", target=target)) == {"changed": False}
    assert executor.perform(state)["suspended"] is True
    assert proved(executor, "schedule.resume", target=target) == {"changed": True}
    made = proved(executor, "job.rerun", target=target)["job"]
    assert made.startswith("nightly-")
    until(
        lambda: real_cluster.get("-n", namespace, "job", made)["status"].get("succeeded") == 1,
        "the job that was started by hand ends well",
    )
    owned = {"metadata": {"labels": {"argocd.argoproj.io/instance": "shop"}}}
    real_cluster.kubectl("-n", namespace, "patch", "cronjob", "nightly", "--type=merge", "-p", json.dumps(owned))
    assert refusal(lambda: executor.before(make_call("schedule.suspend", target=target))).code == "gitops_owned"


def test_a_failed_job_is_made_again_and_a_good_one_is_not(
    real_cluster: RealCluster, executor: KubernetesExecutor, namespace: str
) -> None:
    # Git holds these Jobs, and not those that are made of them.
    owned = {"argocd.argoproj.io/instance": "shop", "app.kubernetes.io/instance": "shop"}
    for name, program in (("bad", "exit 3"), ("good", "exit 0")):
        metadata = {"name": name, "namespace": namespace, "labels": {"team": "shop", **owned}}
        real_cluster.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, **job_template(program)})

    def status(name: str) -> JsonObject:
        found: JsonObject = real_cluster.get("-n", namespace, "job", name)["status"]
        return found

    until(lambda: status("bad").get("failed") == 1 and status("good").get("succeeded") == 1, "both have ended")
    until(lambda: bool(status("bad").get("conditions")), "the job has failed for good")
    good = make_call("job.rerun", target=binding("Job", namespace, "good"))
    assert refusal(lambda: executor.before(good)).code == "job_not_failed"
    assert refusal(lambda: executor.perform(good)).code == "job_not_failed"
    again = make_call("job.rerun", target=binding("Job", namespace, "bad"))
    before = executor.before(again)
    assert executor.happened(again, before) is Happened.NO
    made = executor.perform(again)["job"]
    assert executor.happened(again, before) is Happened.YES
    until(lambda: status(made).get("failed") == 1, "the new job has run, too")
    labels = real_cluster.get("-n", namespace, "job", made)["metadata"]["labels"]
    assert labels["team"] == "shop"
    assert not owned.keys() & labels.keys(), "its owner would prune it"
    real_cluster.kubectl("-n", namespace, "annotate", "job", "bad", "argocd.argoproj.io/hook=PreSync")
    assert refusal(lambda: executor.before(again)).code == "gitops_owned"
    assert refusal(lambda: executor.perform(again)).code == "gitops_owned"
    told = make_call("job.rerun", target=binding("Job", namespace, "bad", gitops="override"))
    assert executor.perform(told)["changed"] is True
    events = executor.perform(make_call("workload.events", target=binding("Job", namespace, "bad")))
    assert {"SuccessfulCreate", "BackoffLimitExceeded"} <= {event["reason"] for event in events["events"]}
    assert events["warnings"] >= 1


def test_events_of_a_workload_are_its_own_and_the_newest(
    real_cluster: RealCluster, executor: KubernetesExecutor, namespace: str
) -> None:
    real_cluster.apply(
        workload("Deployment", namespace, "web", image=f"{REPOSITORY}:absent"),
        workload("Deployment", namespace, "other"),
    )
    target = binding("Deployment", namespace, "web")
    found: JsonObject = {}

    def told() -> bool:
        found.update(executor.perform(make_call("workload.events", target=target)))
        return {"ScalingReplicaSet", "ErrImageNeverPull"} <= {event["reason"] for event in found["events"]}

    until(told, "the kubelet has told why")
    assert not any("other" in event["object"] for event in found["events"])
    times = [event["at"] for event in found["events"]]
    assert times == sorted(times, reverse=True)
    one = executor.perform(make_call("workload.events", target=target, limit=1))
    assert (len(one["events"]), one["truncated"]) == (1, True)
