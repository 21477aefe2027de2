"""The dashboard that shows what clients experience, and what limits the API."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.common import BigValueTextMode

from observability.grafana.builders.alert_limits import limit_of
from observability.grafana.builders.dashboard import Section, dashboard, variable
from observability.grafana.builders.panels import AMBER, GREEN, RED, Query, graph, number

HERE = 'job="api", instance=~"$instance"'
ROUTE = f'{HERE}, handler=~"$handler"'
RATE = "[$__rate_interval]"


def api() -> Dashboard:
    """Build the dashboard."""
    variables = [
        variable("instance", "Instance", 'label_values(vigie_build_info{job="api"}, instance)'),
        variable("handler", "Route", 'label_values(http_requests_total{job="api"}, handler)'),
    ]
    text = "What clients experience (rate, errors, latency), what limits the API, the prediction log and the snapshots."
    return dashboard("vigie-api", text, variables, [_requests(), _saturation(), _log(), _snapshots()])


def _latency(quantile: float) -> Query:
    buckets = f"sum by (le) (rate(http_request_duration_seconds_bucket{{{ROUTE}}}{RATE}))"
    return Query(f"histogram_quantile({quantile:g}, {buckets})", f"p{quantile * 100:g}")


def _requests() -> Section:
    surge = limit_of("ApiClientErrorsSurge")
    by_route = f"sum by (le, handler) (rate(http_request_duration_seconds_bucket{{{ROUTE}}}{RATE}))"
    return "Requests", [
        graph(
            "Rate by route",
            "Requests per second; the route `none` stands for unknown paths.",
            "reqps",
            Query(f"sum by (handler) (rate(http_requests_total{{{ROUTE}}}{RATE}))", "{{handler}}"),
            stacked=True,
        ),
        graph(
            "Answers by status",
            "Requests per second: 2xx succeeded, 4xx is an error of the client, 5xx an error of the API.",
            "reqps",
            Query(f"sum by (status) (rate(http_requests_total{{{ROUTE}}}{RATE}))", "{{status}}"),
            alerts=["ApiErrorBudgetBurningFast", "ApiErrorBudgetBurningSlowly"],
            stacked=True,
        ),
        graph(
            "Share refused with 4xx",
            "Share in the last five minutes, over all routes. The alert needs at least 50 requests.",
            "percentunit",
            Query("job:http_requests_refused:ratio_rate5m", "4xx"),
            limit=surge,
            maximum=1,
        ),
        graph(
            "Latency",
            "50, 95 and 99 of 100 requests are faster than this. The line is the objective of POST /predict.",
            "s",
            *(_latency(quantile) for quantile in (0.5, 0.95, 0.99)),
            steps=[(None, GREEN), (0.1, RED)],
            alerts=["ApiLatencyBudgetBurningFast", "ApiLatencyBudgetBurningSlowly"],
        ),
        graph(
            "Latency by route (p95)",
            "95 of 100 requests are faster than this. Large batches and reports take longer.",
            "s",
            Query(f"histogram_quantile(0.95, {by_route})", "{{handler}}"),
        ),
        graph(
            "Rejected requests by reason",
            "Requests per second that were refused because of their content.",
            "reqps",
            Query(f"sum by (reason) (rate(vigie_rejected_requests_total{{{HERE}}}{RATE}))", "{{reason}}"),
            stacked=True,
        ),
        graph(
            "Callers not let in, by reason",
            "Requests per second without a valid key, without the needed scope, or above the key's rate limit.",
            "reqps",
            Query(f"sum by (reason) (rate(vigie_denied_requests_total{{{HERE}}}{RATE}))", "{{reason}}"),
            stacked=True,
        ),
        number(
            "API keys",
            "Number of keys; 0 if callers need none.",
            "none",
            Query(f"max(vigie_api_keys{{{HERE}}})"),
        ),
        number(
            "Key file",
            "Whether the API could read it after its last change. Alert: ApiKeysUnreadable.",
            "none",
            Query(f"min(vigie_api_keys_sound{{{HERE}}})"),
            words={"1": ("valid", GREEN), "0": ("UNREADABLE", RED)},
        ),
    ]


def _saturation() -> Section:
    return "Saturation", [
        graph(
            "Requests in progress",
            "Requests that are processed at the same time, as an average of five minutes.",
            "short",
            Query(f"avg_over_time(vigie_requests_in_progress{{{HERE}}}[5m])", "{{instance}}"),
            limit=limit_of("ApiRequestsPilingUp"),
        ),
        graph(
            "CPU of the process",
            "Cores in use; one worker uses at most one. Not reported with several workers: see Containers.",
            "none",
            Query(f"rate(process_cpu_seconds_total{{{HERE}}}[5m])", "{{instance}}"),
            limit=limit_of("ApiCpuSaturated"),
        ),
        graph(
            "Memory of the process",
            "Resident memory, without the snapshot worker. Not reported with several workers: see Containers.",
            "bytes",
            Query(f"process_resident_memory_bytes{{{HERE}}}", "{{instance}}"),
        ),
    ]


def _log() -> Section:
    commits = f"sum by (job, le) (rate(vigie_log_commit_seconds_bucket{{{HERE}}}[5m]))"
    rows = f"sum by (le) (rate(vigie_request_rows_bucket{{{HERE}}}{RATE}))"
    return "Prediction log", [
        graph(
            "Rows and labels",
            "Rows predicted and labels stored per second.",
            "rowsps",
            Query(f"sum(rate(vigie_predicted_rows_total{{{HERE}}}{RATE}))", "rows predicted"),
            Query(f"sum(rate(vigie_stored_labels_total{{{HERE}}}{RATE}))", "labels stored"),
        ),
        graph(
            "Rows in a request",
            "50 and 99 of 100 requests to predict have at most this many rows.",
            "short",
            Query(f"histogram_quantile(0.5, {rows})", "p50"),
            Query(f"histogram_quantile(0.99, {rows})", "p99"),
        ),
        graph(
            "Queue",
            "How full the queue of the log is. If it is full, requests get 503.",
            "percentunit",
            Query(
                f"max_over_time(vigie_log_queue_rows{{{HERE}}}[1m]) / vigie_log_queue_limit_rows{{{HERE}}}",
                "{{instance}}",
            ),
            limit=limit_of("ApiLogQueueFull"),
            maximum=1,
        ),
        graph(
            "Commit time",
            "50 and 95 of 100 group commits are faster than this. Each answer waits for one.",
            "s",
            Query(f"histogram_quantile(0.5, {commits})", "p50"),
            Query(f"histogram_quantile(0.95, {commits})", "p95"),
            limit=limit_of("ApiLogCommitsSlow"),
            span=12,
        ),
        graph(
            "Rows in a commit",
            "Average. Under load the log commits more rows at once.",
            "short",
            Query(
                f"sum(rate(vigie_log_commit_rows_sum{{{HERE}}}{RATE}))"
                f" / (sum(rate(vigie_log_commit_rows_count{{{HERE}}}{RATE})) > 0)",
                "rows",
            ),
            span=12,
        ),
    ]


def _snapshots() -> Section:
    return "Snapshots", [
        graph(
            "Behind",
            "Time since the oldest window without a snapshot ended, or should have; 0 if none waits.",
            "s",
            Query("max by (job) (vigie_snapshot_behind_seconds)", "behind"),
            limit=limit_of("SnapshotsLate"),
        ),
        graph(
            "Tries of windows in 30 minutes",
            "Attempts to make a snapshot, by outcome. The alert counts failed and worker_failed.",
            "short",
            Query("sum by (outcome) (increase(vigie_snapshot_windows_total[30m]))", "{{outcome}}"),
            limit=limit_of("SnapshotsFailing"),
        ),
        graph(
            "Duration of the last snapshot",
            "Time to measure and post a window. It must be shorter than a window.",
            "s",
            Query("max(vigie_snapshot_last_duration_seconds)", "duration"),
        ),
        number(
            "Holders of the lease",
            "API processes that make snapshots; it must be exactly one. Alert: SnapshotLeaseLost.",
            "none",
            Query("sum(vigie_snapshot_lease_held)"),
            steps=[(None, RED), (1, GREEN), (2, RED)],
        ),
        number(
            "Evidently UI",
            "Whether it answered the last request of the API. Alert: EvidentlyDown.",
            "none",
            Query("max(vigie_evidently_up)"),
            words={"1": ("up", GREEN), "0": ("DOWN", RED)},
        ),
        number(
            "Surroundings last looked at",
            "Age of the values shown for the lease, the windows and Evidently UI.",
            "s",
            Query("max(time() - (vigie_status_timestamp_seconds > 0))"),
            limit=limit_of("ApiStatusStale"),
        ),
        number(
            "Posts of model alerts that failed",
            "Alerts on the model's health that Alertmanager did not accept, in 15 minutes.",
            "short",
            Query('sum(increase(vigie_alert_posts_total{outcome!="sent"}[15m]))'),
            limit=limit_of("ModelAlertsNotSent"),
        ),
        number(
            "Build",
            "Versions of Vigie and of the model that serve now; two during a roll-out.",
            "none",
            Query("count by (version, model, model_version) (vigie_build_info)", "{{version}}: {{model_version}}"),
            steps=[(None, GREEN), (2, AMBER)],
            span=8,
            shown=BigValueTextMode.NAME,
        ),
        number(
            "Processes behind",
            "Processes that could not load the newest version of the model; their log says why.",
            "short",
            Query("max(vigie_model_behind)"),
            limit=limit_of("ModelBehind"),
        ),
        graph(
            "Removed because of its age, in a day",
            "Removed rows of the log, snapshots, values of snapshots, and reports.",
            "short",
            Query("sum by (kind) (increase(vigie_retention_removed_total[1d]))", "{{kind}}"),
        ),
        graph(
            "Freed by that, in a day",
            "Snapshots count with their size when posted. A log on PostgreSQL reuses its space and frees none.",
            "bytes",
            Query("sum by (store) (increase(vigie_retention_freed_bytes_total[1d]))", "{{store}}"),
        ),
        number(
            "Windows given up",
            "Windows that failed for a day and will not be tried again, in one hour.",
            "short",
            Query('sum(increase(vigie_snapshot_windows_total{outcome="given_up"}[1h]))'),
            limit=limit_of("SnapshotGivenUp"),
        ),
        number(
            "Failed runs of retention",
            "Runs that could not remove all old data, in 6 hours.",
            "short",
            Query('sum(increase(vigie_retention_runs_total{outcome="failed"}[6h]))'),
            limit=limit_of("RetentionFailing"),
        ),
        number(
            "Windows ahead of the clock",
            "How far closed windows lie in the future, after a clock was wrong; 0 is normal.",
            "s",
            Query("max(vigie_snapshot_ahead_seconds)"),
            limit=limit_of("SnapshotsAheadOfClock"),
        ),
    ]
