"""Which of the shipped strategies takes which alert of the well-known rule sets; and what each first does."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from tests.real.components import REPOSITORY, payloads_folder, require, shared_folder
from tests.unit.sites import alert
from uici.catalogue.executors import discover_executors
from uici.catalogue.loading import load_site
from uici.model.base import JsonObject
from uici.model.filling import IncidentValues
from uici.model.site import Site
from uici.planning.ladder import explain, next_rungs

# Names of kube-prometheus (https://github.com/prometheus-operator/kube-prometheus), the mixins it is made of, and
# https://samber.github.io/awesome-prometheus-alerts; `None`: no strategy, so people are asked.
TAKEN: dict[str | None, str] = {
    "heartbeat": "Watchdog DeadMansSwitch DeadMansSnitch AlertmanagerHeartbeat PrometheusDeadManSwitch "
    "PrometheusAlertmanagerE2eDeadManSwitch",
    "inhibitor": "InfoInhibitor",
    "canary_failed": "CouncilCanaryFailed",
    "council_budget": "CouncilBudgetNearlySpent CouncilBudgetSpent CouncilBudgetUnreadable",
    "council_configuration": "CouncilConfigurationRefused",
    "council_memory_behind": "CouncilMemoryBehind CouncilMemoryUnusable",
    "council_calibration": "CouncilCalibrationOff",
    "council_backend": "CouncilBackendLeftAlone",
    "leaking": "CouncilMemoryLeak",
    "model_stuck": "VllmStuck",
    "model_on_cpu": "VllmOnCpu",
    "model_overloaded": "VllmKvCacheNearlyFull VllmRequestsWaiting CouncilTurnsRequestsAway",
    "gpu_gone": "GpuGone",
    "redis_memory": "RedisMemoryNearlyFull",
    "heartbeat_missing": "HeartbeatMissing",
    "certificate_expiry": "BlackboxSslCertificateWillExpireSoon BlackboxSslCertificateExpired CertificateExpiresSoon "
    "KubeClientCertificateExpiration KubeletClientCertificateExpiration KubeletServerCertificateExpiration "
    "KubeletClientCertificateRenewalErrors KubeletServerCertificateRenewalErrors CertManagerCertExpirySoon "
    "CertManagerCertNotReady KubernetesClientCertificateExpiresSoon SSLCertExpiringSoon ServiceCertificateExpiresSoon",
    "replica_lag": "PostgresqlReplicationLag PostgreSQLReplicationLag MysqlSlaveReplicationLag MySQLReplicationLag "
    "MysqlSlaveIoThreadNotRunning MysqlSlaveSqlThreadNotRunning RedisReplicationBroken MongodbReplicationLag "
    "ServiceReplicaLag "
    "PostgresReplicationStopped PostgresReplicationLaggingMore1Hour PostgresReplicationLagBytesAreTooLarge "
    "PostgresReplicationIsStale",
    "machine": "HostOutOfMemory HostMemoryUnderMemoryPressure HostHighCpuLoad HostOomKillDetected "
    "HostUnusualDiskReadRate NodeDiskIOSaturation HostUnusualDiskWriteLatency "
    "HostSystemdServiceCrashed HostClockSkew HostNetworkInterfaceSaturated "
    "NodeCPUHighUsage NodeMemoryHighUtilization NodeMemoryMajorPagesFaults NodeSystemSaturation NodeClockSkewDetected "
    "NodeClockNotSynchronising NodeNetworkReceiveErrs NodeHighNumberConntrackEntriesUsed NodeRAIDDegraded "
    "NodeFileDescriptorLimit NodeSystemdServiceFailed NodeTextFileCollectorScrapeError "
    "KubeNodeNotReady KubeNodeUnreachable KubeNodeReadinessFlapping KubeletPlegDurationHigh KubeletDown "
    "KubeletPodStartUpLatencyHigh KubeAPIDown KubeAPIErrorBudgetBurn KubeAPITerminatedRequests KubeAggregatedAPIDown "
    "KubeAggregatedAPIErrors KubeSchedulerDown KubeControllerManagerDown KubeProxyDown KubeletInstanceUnreachable "
    "NodeNetworkTransmitErrs NodeRAIDDiskFailure NodeSystemdServiceCrashlooping NodeBondingDegraded "
    "KubeNodeEviction KubeNodePressure KubeletTooManyPods",
    "disk_filling": "NodeFilesystemSpaceFillingUp NodeFilesystemAlmostOutOfSpace NodeFilesystemFilesFillingUp "
    "NodeFilesystemAlmostOutOfFiles KubePersistentVolumeFillingUp KubePersistentVolumeInodesFillingUp "
    "HostOutOfDiskSpace HostDiskWillFillIn24Hours HostOutOfInodes HostInodesWillFillIn24Hours ContainerVolumeUsage "
    "KubernetesVolumeOutOfDiskSpace KubernetesVolumeFullInFourDays KubernetesOutOfDisk DiskFull LowDiskSpace "
    "DiskSpaceLow ElasticsearchDiskSpaceLow ElasticsearchDiskOutOfSpace ServiceDiskFilling",
    "out_of_memory": "ContainerHighMemoryUsage ContainerOOMKilled KubernetesContainerOomKiller "
    "KubernetesMemoryPressure JvmMemoryHigh HighMemoryUsage MemoryUsageHigh RedisOutOfMemory ServiceHighMemory "
    "RabbitmqMemoryHigh RabbitmqOutOfMemory",
    "service_high_cpu": "ServiceHighCpu",
    "high_cpu": "ContainerHighCpuUtilization HighCPUUsage HighCpuLoad ContainerHighThrottleRate CPUUsageHigh "
    "CPUThrottlingHigh",
    "crash_loop": "KubePodCrashLooping KubernetesPodCrashLooping KubeContainerWaiting ContainerRestarting "
    "PrometheusTooManyRestarts ServiceCrashLooping "
    "AlertmanagerClusterCrashlooping",
    "bad_deployment": "KubeDeploymentRolloutStuck KubeStatefulSetUpdateNotRolledOut KubeDaemonSetRolloutStuck "
    "PrometheusConfigurationReloadFailure PrometheusAlertmanagerConfigurationReloadFailure PrometheusBadConfig "
    "AlertmanagerConfigReloadFailed ConfigReloadFailed DeploymentFailed ServiceConfigReloadFailed "
    "AlertmanagerFailedReload AlertmanagerConfigInconsistent",
    "unhealthy": "KubePodNotReady KubeDeploymentReplicasMismatch KubeStatefulSetReplicasMismatch "
    "KubeHpaReplicasMismatch BlackboxProbeFailed BlackboxProbeHttpFailure ServiceUnhealthy HealthCheckFailed "
    "MongodbReplicaMemberUnhealthy CouncilHanging",
    "error_rate": "NginxHighHttp5xxErrorRate HaproxyHighHttp5xxErrorRateBackend TraefikHighHttp5xxErrorRateService "
    "IstioHigh5xxErrorRate HighErrorRate ErrorRateHigh HTTPErrorsHigh TooManyErrors ErrorBudgetBurn "
    "ServiceHighErrorRate CouncilErrorRateHigh",
    "latency": "NginxLatencyHigh HighLatency BlackboxSlowProbe SlowResponse HighRequestLatency IstioHighRequestLatency "
    "IstioLatency99Percentile RequestDurationHigh PostgresqlSlowQueries ServiceHighLatency "
    "PostgreSQLSlowQueries CouncilLatencyHigh",
    "queue_growing": "RabbitmqTooManyMessagesInQueue RabbitmqTooManyReadyMessages RabbitmqTooManyUnackMessages "
    "RabbitmqSlowQueueConsuming RabbitmqNoConsumer RabbitmqNoQueueConsumer KafkaConsumerGroupLag KafkaConsumersGroup "
    "SidekiqQueueSize QueueGrowing QueueSlowdown ServiceQueueGrowing",
    "service_down": "InstanceDown TargetDown PrometheusTargetMissing PrometheusJobMissing ContainerKilled "
    "ContainerAbsent PostgresqlDown MysqlDown RedisDown RabbitmqNodeDown MongodbDown "
    "ServiceDown service_down EndpointDown PrometheusDown AlertmanagerDown "
    "PostgreSQLDown AlertmanagerClusterDown CouncilDown VllmDown",
    "cluster": "KubeVersionMismatch KubeClientErrors",
    "capacity": "KubeCPUOvercommit KubeMemoryOvercommit KubeCPUQuotaOvercommit KubeMemoryQuotaOvercommit "
    "KubeQuotaExceeded KubeQuotaFullyUsed KubeQuotaAlmostFull",
    "scaled_out": "KubeHpaMaxedOut",
    "placement": "KubeDaemonSetNotScheduled KubeDaemonSetMisScheduled KubePdbNotEnoughHealthyPods "
    "KubeDeploymentGenerationMismatch KubeStatefulSetGenerationMismatch",
    "batch_job": "KubeJobNotCompleted KubeJobFailed KubernetesJobFailed KubernetesJobSlowCompletion "
    "KubernetesCronjobSuspended",
    "volume": "KubePersistentVolumeErrors",
    "database_load": "PostgreSQLMaxConnectionsReached PostgreSQLHighConnections PostgreSQLQPS PostgreSQLCacheHitRatio "
    "PostgresHasTooManyRollbacks PostgresHasHighDeadLocks PostgresAcquiredTooManyLocks PostgresXLOGConsumptionVeryLow "
    "PostgresXLOGConsumptionVeryHigh PostgresHasReplicationSlotUsed PostgresReplicationRoleChanged "
    "PostgresHasExporterErrors PostgresHasTooManyDeadTuples PostgresTablesNotVaccumed "
    "PostgresTooManyCheckpointsRequested PostgresqlTooManyConnections PostgresqlDeadLocks MysqlTooManyConnections "
    "RedisTooManyConnections",
    "monitoring_degraded": "PrometheusSDRefreshFailure PrometheusKubernetesListWatchFailures "
    "PrometheusNotificationQueueRunningFull PrometheusErrorSendingAlertsToSomeAlertmanagers "
    "PrometheusErrorSendingAlertsToAnyAlertmanager PrometheusNotConnectedToAlertmanagers PrometheusTSDBReloadsFailing "
    "PrometheusTSDBCompactionsFailing PrometheusNotIngestingSamples PrometheusDuplicateTimestamps "
    "PrometheusOutOfOrderTimestamps PrometheusRemoteStorageFailures PrometheusRemoteWriteBehind "
    "PrometheusRemoteWriteDesiredShards PrometheusRuleFailures PrometheusMissingRuleEvaluations "
    "PrometheusTargetLimitHit PrometheusLabelLimitHit PrometheusScrapeBodySizeLimitHit "
    "PrometheusScrapeSampleLimitHit PrometheusTargetSyncFailure PrometheusHighQueryLoad "
    "AlertmanagerMembersInconsistent AlertmanagerFailedToSendAlerts "
    "AlertmanagerClusterFailedToSendAlerts ConfigReloaderSidecarErrors PrometheusDropsNotifications "
    "AlertmanagerFailsToNotify",
    None: "HighRequestRate Slowdown ScaleDown",
}


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(None, executors=discover_executors())


def strategy_of(site: Site, **labels: str) -> str | None:
    found = site.strategy_for(alert(**labels))
    return found[0] if found is not None else None


@pytest.mark.parametrize(
    ("name", "strategy"), [(name, strategy) for strategy, names in TAKEN.items() for name in names.split()]
)
def test_no_strategy_takes_the_alerts_of_another(site: Site, name: str, strategy: str | None) -> None:
    assert strategy_of(site, alertname=name, severity="warning") == strategy


def test_every_strategy_that_does_something_is_in_the_table(site: Site) -> None:
    by_severity = {"information"}
    assert set(site.strategies) - by_severity == {name for name in TAKEN if name is not None}


def test_what_only_informs_is_left_alone_but_never_an_absence(site: Site) -> None:
    assert strategy_of(site, alertname="CPUThrottlingHigh", severity="info") == "information"
    assert strategy_of(site, alertname="Watchdog", severity="none") == "heartbeat"


def test_the_alerts_of_the_kubernetes_mixin_are_all_in_the_table() -> None:
    shared = shared_folder()
    file = shared / "data" / "kubernetes-mixin-alerts.json" if shared is not None else None
    require("payloads", file is not None and file.is_file(), "no kubernetes-mixin-alerts.json under UICI_SHARED")
    assert file is not None
    wanted = {item["alert"] for item in _rules(json.loads(file.read_text())) if item["labels"]["severity"] != "info"}
    known = {name for names in TAKEN.values() for name in names.split()}
    listed = {name for name in wanted if name not in known and not re.match(r"Kube\w+(Unreachable|Down)$", name)}
    assert wanted
    assert listed == set()


def _rules(value: object) -> list[JsonObject]:
    if isinstance(value, dict):
        own = [value] if isinstance(value.get("alert"), str) else []
        return own + [rule for item in value.values() for rule in _rules(item)]
    return [rule for item in value for rule in _rules(item)] if isinstance(value, list) else []


@pytest.mark.component("payloads")
def test_captured_payloads_find_their_strategies(site: Site) -> None:
    folder = payloads_folder()
    assert folder is not None
    found = {
        (item["labels"]["alertname"], strategy_of(site, **item["labels"]))
        for path in folder.glob("*.json")
        for item in json.loads(path.read_text())["alerts"]
    }
    assert found >= {("Watchdog", "heartbeat")}
    assert all(strategy is not None for name, strategy in found), found


def test_who_asks_for_people_says_what_they_should_do(site: Site) -> None:
    for name, strategy in site.strategies.items():
        if strategy.action == "escalate":
            assert strategy.advice, name


@pytest.mark.parametrize(
    ("strategy", "findings", "first"),
    [
        ("heartbeat_missing", {"not_running"}, "start"),
        ("heartbeat_missing", {"hanging", "unhealthy"}, "restart"),
        ("heartbeat_missing", {"healthy"}, None),
        ("service_high_cpu", {"high_cpu", "unhealthy", "hanging", "recently_deployed"}, "roll_back_the_deployment"),
        ("service_high_cpu", {"high_cpu", "unhealthy", "hanging"}, "restart_what_hangs"),
        ("service_high_cpu", {"high_cpu", "healthy"}, None),
        ("service_high_cpu", {"healthy", "fires_while_healthy"}, "propose_a_longer_wait"),
        ("high_cpu", {"high_cpu", "hanging"}, "restart_what_hangs"),
        ("high_cpu", {"healthy", "fires_while_healthy"}, None),
        ("error_rate", {"config_error", "recently_deployed", "unhealthy"}, "roll_back_the_deployment"),
        ("error_rate", {"hanging", "unhealthy"}, "restart"),
        ("error_rate", {"healthy", "recently_deployed"}, None),
        ("error_rate", {"hanging", "disk_full"}, None),
        ("latency", {"hanging", "unhealthy"}, "restart"),
        ("latency", {"healthy"}, None),
        ("canary_failed", {"canary_fails", "healthy"}, "take_the_canary_back"),
        ("canary_failed", {"healthy"}, None),
        ("leaking", {"running", "healthy", "memory_growing"}, "restart_what_grows"),
        ("leaking", {"running", "unhealthy", "hanging"}, "restart_what_grows"),
        ("leaking", {"not_running", "oom_killed"}, "start_what_was_killed"),
        ("leaking", {"running", "healthy"}, None),
        ("model_stuck", {"running", "healthy", "makes_no_tokens"}, "restart_what_stands_still"),
        ("model_stuck", {"running", "healthy"}, None),
        ("model_on_cpu", {"running", "healthy", "gpus_idle"}, "restart_so_that_it_finds_the_gpu"),
        ("model_on_cpu", {"running", "healthy"}, None),
        ("model_overloaded", {"running", "healthy", "high_cpu"}, None),
        ("model_overloaded", {"running", "hanging", "unhealthy"}, "restart_what_hangs"),
        ("queue_growing", {"not_running"}, "start"),
        ("queue_growing", {"hanging", "unhealthy"}, "restart"),
        ("queue_growing", {"healthy"}, None),
        ("disk_filling", {"healthy", "disk_nearly_full"}, "reclaim_what_can_be_made_again"),
        ("disk_filling", {"missing", "not_running"}, None),
    ],
)
def test_the_first_remedy(site: Site, strategy: str, findings: set[str], first: str | None) -> None:
    values = IncidentValues.of(alert(alertname="x"), {"reclaim": {"globs": ["/tmp/x/*"]}}, "local", "web")
    rungs = next_rungs(site, strategy, frozenset(findings), (), values)
    assert (rungs[0].name if rungs else None) == first


def test_nothing_is_reclaimed_where_the_binding_does_not_allow_it(site: Site) -> None:
    values = IncidentValues.of(alert(alertname="DiskFull"), {"program": "web"}, "local", "web")
    assert next_rungs(site, "disk_filling", frozenset({"healthy"}), (), values) == ()
    ((_, why),) = explain(site, "disk_filling", frozenset({"healthy"}), (), values)
    assert "${target.reclaim} has no value here" in why


def test_the_proposed_change_is_one_of_the_shipped_rules(site: Site) -> None:
    """What the proposal calls the present text stands in the file that it names, once."""
    (step,) = site.strategies["service_high_cpu"].remedies[-1].steps
    file = REPOSITORY / "infrastructure" / "monitoring" / step.parameters["file"]
    text = file.read_text()
    assert text.count(step.parameters["current"]) == 1
    changed = yaml.safe_load(text.replace(step.parameters["current"], step.parameters["proposed"]))
    rules = {rule["alert"]: rule for group in changed["groups"] for rule in group["rules"]}
    assert rules["ServiceHighCpu"]["for"] == "1h"
