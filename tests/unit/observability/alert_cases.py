"""When each alert fires, stays quiet, and waits out its `for`: series in promtool's notation, `start+step x times`."""

from dataclasses import dataclass

Series = dict[str, str]


@dataclass(frozen=True)
class Case:
    """One alert: series with which it is pending at one time and fires at another, and others with which it is not.

    ``silent`` says whether the alert has nothing to say where its series are missing.
    """

    alert: str
    faulty: Series
    fires_at: str
    pending_at: str | None
    quiet: Series
    interval: str = "15s"
    silent: bool = True


def requests(failed: str, fine: str, status: str = "5xx") -> Series:
    labels = 'job="api", instance="api:8000", handler="/predict", method="POST"'
    return {
        f'http_requests_total{{{labels}, status="{status}"}}': failed,
        f'http_requests_total{{{labels}, status="2xx"}}': fine,
    }


def predictions(quick: str, every: str) -> Series:
    labels = 'job="api", instance="api:8000", handler="/predict", method="POST"'
    return {
        f'http_request_duration_seconds_bucket{{{labels}, le="0.1"}}': quick,
        f"http_request_duration_seconds_count{{{labels}}}": every,
    }


def api(**metrics: str) -> Series:
    return {f'{name}{{job="api", instance="api:8000"}}': values for name, values in metrics.items()}


def host(labels: str = "", **metrics: str) -> Series:
    return {f'{name}{{job="node-exporter", instance="host:9100"{labels}}}': each for name, each in metrics.items()}


def container(labels: str = "", **metrics: str) -> Series:
    fixed = 'job="cadvisor", instance="cadvisor:8080", container="api", name="vigie-api-1", id="/docker/1"'
    return {f"{name}{{{fixed}{labels}}}": values for name, values in metrics.items()}


def everything_but(missing: str) -> Series:
    services = {"api", "evidently-ui", "alertmanager", "grafana", "node-exporter"} - {missing}
    seen = {f'container_last_seen{{job="cadvisor", container="{one}"}}': "1x60" for one in services}
    return {**seen, 'up{job="cadvisor"}': "1x60"}


def disk(size: str, free: str) -> Series:
    labels = ', mountpoint="/", fstype="ext4", device="/dev/sda1"'
    return host(
        labels, node_filesystem_size_bytes=size, node_filesystem_avail_bytes=free, node_filesystem_readonly="0x9999"
    )


def idle(first: str, second: str) -> Series:
    cpu = host(', cpu="0", mode="idle"', node_cpu_seconds_total=first)
    return {**cpu, **host(', cpu="1", mode="idle"', node_cpu_seconds_total=second)}


def commits(quick: str, every: str) -> Series:
    name = "vigie_log_commit_seconds_bucket"
    edges = {"0.25": quick, "0.5": every, "+Inf": every}
    return {f'{name}{{job="api", instance="api:8000", le="{edge}"}}': values for edge, values in edges.items()}


def outcomes(kind: str, bad: str, values: str) -> Series:
    return {f'{kind}{{job="api", instance="api:8000", outcome="{bad}"}}': values}


API = (
    Case("ApiDown", {'up{job="api"}': "1x4 0x40"}, "5m", "1m30s", {'up{job="api"}': "1x40"}, silent=False),
    # a tenth of the requests fail after a good start; where it stays quiet, there are too few for the guard
    Case(
        "ApiErrorBudgetBurningFast",
        requests("0x60 0+5x60", "0+50x120"),
        "1h30m",
        "1h7m",
        requests("0x60 0+0.1x60", "0+1x120"),
        interval="1m",
    ),
    Case(
        "ApiErrorBudgetBurningSlowly",
        requests("0x150 0+50x50", "0+500x200"),
        "11h30m",
        "10h31m",
        requests("0x150 0+0.2x50", "0+500x200"),
        interval="4m",
    ),
    Case(
        "ApiLatencyBudgetBurningFast",
        predictions("0+50x60 3000+25x60", "0+50x120"),
        "1h30m",
        "1h10m",
        predictions("0+0.5x60 30+0.25x60", "0+0.5x120"),
        interval="1m",
    ),
    Case(
        "ApiLatencyBudgetBurningSlowly",
        predictions("0+100x150 15000+50x50", "0+100x200"),
        "11h30m",
        "10h24m",
        predictions("0+99.5x200", "0+100x200"),
        interval="4m",
    ),
    Case(
        "ApiClientErrorsSurge",
        requests("0+10x120", "0+10x120", "4xx"),
        "20m",
        "8m",
        requests("0+1x120", "0+10x120", "4xx"),
    ),
    Case(
        "ApiKeysUnreadable",
        api(vigie_api_keys_sound="1 1 1 1 0x60"),
        "3m",
        "90s",
        api(vigie_api_keys_sound="1x60"),
    ),
    Case(
        "ApiCpuSaturated",
        api(process_cpu_seconds_total="0+14.5x120"),
        "20m",
        "8m",
        api(process_cpu_seconds_total="0+9x120"),
    ),
    Case(
        "ApiRequestsPilingUp",
        api(vigie_requests_in_progress="80x80"),
        "10m",
        "3m",
        api(vigie_requests_in_progress="20x80"),
    ),
    Case(
        "ApiLogQueueFull",
        api(vigie_log_queue_rows="45000x40", vigie_log_queue_limit_rows="50000x40"),
        "5m",
        "30s",
        api(vigie_log_queue_rows="4500x40", vigie_log_queue_limit_rows="50000x40"),
    ),
    Case("ApiLogCommitsSlow", commits("0+1x120", "0+10x120"), "20m", "8m", commits("0+10x120", "0+10x120")),
    Case(
        "SnapshotsLate",
        api(vigie_snapshot_behind_seconds="1200x80"),
        "10m",
        "3m",
        api(vigie_snapshot_behind_seconds="200x80"),
    ),
    Case(
        "SnapshotsAheadOfClock",
        api(vigie_snapshot_ahead_seconds="7200x80"),
        "10m",
        "3m",
        api(vigie_snapshot_ahead_seconds="200x80"),
    ),
    Case(
        "SnapshotsFailing",
        outcomes("vigie_snapshot_windows_total", "failed", "0+0.5x200"),
        "15m",
        "4m",
        outcomes("vigie_snapshot_windows_total", "posted", "0+0.5x200"),
    ),
    Case(
        "SnapshotGivenUp",
        outcomes("vigie_snapshot_windows_total", "given_up", "0x20 1x200"),
        "10m",
        None,
        outcomes("vigie_snapshot_windows_total", "given_up", "1x200"),
    ),
    Case(
        "RetentionFailing",
        outcomes("vigie_retention_runs_total", "failed", "0+0.5x200"),
        "15m",
        "4m",
        outcomes("vigie_retention_runs_total", "done", "0+0.5x200"),
    ),
    Case(
        "RetentionBehind",
        api(vigie_retention_overdue_seconds="100000+60x600"),
        "7h",
        "6h10m",
        api(vigie_retention_overdue_seconds="2000000-60x600"),  # after VIGIE_LOG_KEEP_DAYS was lowered
        interval="1m",
    ),
    Case(
        "SnapshotLeaseLost",
        api(vigie_snapshot_lease_held="0x40", vigie_status_timestamp_seconds="0+15x40"),
        "5m",
        "1m",
        api(vigie_snapshot_lease_held="1x40", vigie_status_timestamp_seconds="0+15x40"),
    ),
    Case(
        "ApiStatusStale",
        api(vigie_status_timestamp_seconds="1x60"),
        "8m",
        "2m",
        api(vigie_status_timestamp_seconds="1+15x60"),
    ),
    Case(
        "ModelAlertsNotSent",
        outcomes("vigie_alert_posts_total", "unavailable", "0+1x80"),
        "15m",
        "5m",
        outcomes("vigie_alert_posts_total", "sent", "0+1x80"),
    ),
    Case("ModelBehind", api(vigie_model_behind="1x60"), "6m", "4m", api(vigie_model_behind="0x60")),
    Case("ModelDisabled", api(vigie_model_serving="0x60"), "3m", "1m", api(vigie_model_serving="1x60")),
)

CONTAINERS = (
    Case("ContainerMissing", everything_but("grafana"), "5m", "1m", everything_but("none")),
    Case(
        "ContainerRestarting",
        container(', cpu="total"', container_cpu_usage_seconds_total="0 5 9 1 6 2 7 1x60"),
        "5m",
        "1m45s",
        container(', cpu="total"', container_cpu_usage_seconds_total="0+1x60"),
    ),
    Case(
        "ContainerOutOfMemory",
        container(container_oom_events_total="0x4 1x40"),
        "5m",
        None,
        container(container_oom_events_total="3x40"),
    ),
    Case(
        "ContainerMemoryNearLimit",
        container(container_memory_working_set_bytes="95x80", container_spec_memory_limit_bytes="100x80"),
        "10m",
        "3m",
        # no limit is told as 0
        container(container_memory_working_set_bytes="95x80", container_spec_memory_limit_bytes="0x80"),
    ),
    Case(
        "ContainerCpuThrottled",
        container(container_cpu_cfs_throttled_periods_total="0+50x120", container_cpu_cfs_periods_total="0+100x120"),
        "25m",
        "10m",
        container(container_cpu_cfs_throttled_periods_total="0+5x120", container_cpu_cfs_periods_total="0+100x120"),
    ),
    Case(
        "ContainerUnhealthy",
        container(container_health_state="0x40"),
        "5m",
        "2m",
        container(container_health_state="-1x40"),
    ),
)

HOST = (
    Case("HostDiskFillsSoon", disk("1000x200", "390-1x200"), "2h", "30m", disk("1000x200", "390x200"), "1m"),
    Case("HostDiskAlmostFull", disk("1000x80", "50x80"), "10m", "3m", disk("1000x80", "200x80")),
    Case(
        "HostMemoryLow",
        host(node_memory_MemAvailable_bytes="5x80", node_memory_MemTotal_bytes="100x80"),
        "10m",
        "3m",
        host(node_memory_MemAvailable_bytes="50x80", node_memory_MemTotal_bytes="100x80"),
    ),
    Case("HostOutOfMemory", host(node_vmstat_oom_kill="0x4 1x40"), "5m", None, host(node_vmstat_oom_kill="3x40")),
    Case("HostCpuBusy", idle("0+0.5x120", "0+1x120"), "25m", "10m", idle("0+10x120", "0+12x120")),
    Case(
        "HostLoadHigh",
        {**idle("0+5x120", "0+5x120"), **host(node_load5="6x120")},
        "25m",
        "10m",
        {**idle("0+5x120", "0+5x120"), **host(node_load5="3x120")},
    ),
    Case(
        "HostClockWrong",
        host(node_timex_offset_seconds="-0.2x80"),
        "10m",
        "3m",
        host(node_timex_offset_seconds="0.001x80"),
    ),
    Case(
        "HostClockNotSynchronised",
        host(node_timex_sync_status="0x80", node_timex_maxerror_seconds="16x80"),
        "15m",
        "5m",
        host(node_timex_sync_status="1x80", node_timex_maxerror_seconds="0.1x80"),
    ),
    Case(
        "HostFileDescriptorsLow",
        host(node_filefd_allocated="90x80", node_filefd_maximum="100x80"),
        "10m",
        "3m",
        host(node_filefd_allocated="9x80", node_filefd_maximum="100x80"),
    ),
)

MONITORS = (
    Case("Watchdog", {}, "1m", None, {}, silent=False),
    Case(
        "EvidentlyDown",
        api(vigie_evidently_up="0x40", vigie_status_timestamp_seconds="1x40"),
        "5m",
        "1m",
        api(vigie_evidently_up="1x40", vigie_status_timestamp_seconds="1x40"),
    ),
    Case("MonitorDown", {'up{job="cadvisor"}': "0x40"}, "5m", "2m", {'up{job="cadvisor"}': "1x40"}),
    Case(
        "PrometheusConfigReloadFailed",
        {"prometheus_config_last_reload_successful": "0x80"},
        "10m",
        "3m",
        {"prometheus_config_last_reload_successful": "1x80"},
    ),
    Case(
        "AlertmanagerConfigReloadFailed",
        {"alertmanager_config_last_reload_successful": "0x80"},
        "10m",
        "3m",
        {"alertmanager_config_last_reload_successful": "1x80"},
    ),
    Case(
        "PrometheusRuleFailures",
        {'prometheus_rule_evaluation_failures_total{rule_group="api"}': "0+1x80"},
        "10m",
        "3m",
        {'prometheus_rule_evaluation_failures_total{rule_group="api"}': "7x80"},
    ),
    Case(
        "PrometheusWithoutAlertmanager",
        {"prometheus_notifications_alertmanagers_discovered": "0x80"},
        "10m",
        "3m",
        {"prometheus_notifications_alertmanagers_discovered": "1x80"},
    ),
    Case(
        "PrometheusNotificationsFailing",
        {"prometheus_notifications_errors_total": "0+1x80", "prometheus_notifications_sent_total": "0+2x80"},
        "15m",
        "5m",
        {"prometheus_notifications_errors_total": "0x80", "prometheus_notifications_sent_total": "0+2x80"},
    ),
    Case(
        "AlertmanagerNotificationsFailing",
        {
            'alertmanager_notifications_failed_total{integration="webhook"}': "0+1x80",
            'alertmanager_notifications_total{integration="webhook"}': "0+1x80",
        },
        "10m",
        "3m",
        {
            'alertmanager_notifications_failed_total{integration="webhook"}': "0x80",
            'alertmanager_notifications_total{integration="webhook"}': "0+1x80",
        },
    ),
)

CASES = API + CONTAINERS + HOST + MONITORS
