"""The dashboard that shows what clients experience, and what limits the API."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.common import BigValueTextMode

from observability.grafana.builders.alert_limits import limit_of
from observability.grafana.builders.dashboard import Panel, Section, dashboard, variable
from observability.grafana.builders.panels import (
    AMBER,
    BELOW_ALL,
    BLUE,
    GREEN,
    PURPLE,
    RED,
    STATUS_COLORS,
    Query,
    graph,
    just_above,
    number,
)

HERE = 'job="api", instance=~"$instance"'
ROUTE = f'{HERE}, handler=~"$handler"'
MODEL = 'model=~"$model|"'
"""The chosen models; an installation of one model has no such label on its metrics of windows and rows."""
RATE = "[$__rate_interval]"
BUILDS = f'count by (version, model, model_version) (vigie_build_info{{{HERE}, model=~"$model"}})'
QUANTILES = {"p50": GREEN, "p95": BLUE, "p99": PURPLE}


def api() -> Dashboard:
    """Build the dashboard."""
    variables = [
        variable("instance", "Instance", 'label_values(vigie_build_info{job="api"}, instance)'),
        variable("model", "Model", 'label_values(vigie_build_info{job="api"}, model)'),
        variable("handler", "Route", 'label_values(http_requests_total{job="api"}, handler)'),
    ]
    text = "What clients experience (rate, errors, latency), what limits the API, the prediction log and the snapshots."
    sections = [_requests(), _versions(), _saturation(), _log(), _snapshots(), _retention()]
    return dashboard("vigie-api", text, variables, sections, subject="api")


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
            span=12,
            stacked=True,
            many=True,
        ),
        graph(
            "Latency by route (p95)",
            "95 of 100 requests are faster than this. Large batches and reports take longer.",
            "s",
            Query(f"histogram_quantile(0.95, {by_route})", "{{handler}}"),
            span=12,
            many=True,
        ),
        graph(
            "Answers by status",
            "Requests per second: 2xx succeeded, 4xx is an error of the client, 5xx an error of the API.",
            "reqps",
            Query(f"sum by (status) (rate(http_requests_total{{{ROUTE}}}{RATE}))", "{{status}}"),
            alerts=["ApiErrorBudgetBurningFast", "ApiErrorBudgetBurningSlowly"],
            stacked=True,
            colors=STATUS_COLORS,
        ),
        graph(
            "Share refused with 4xx",
            "Share in the last five minutes, over all routes. The alert needs at least 50 requests.",
            "percentunit",
            Query("job:http_requests_refused:ratio_rate5m", "4xx"),
            limit=surge,
            maximum=1,
            colors={"4xx": AMBER},
        ),
        graph(
            "Latency",
            "50, 95 and 99 of 100 requests are faster than this. The line is the objective of POST /predict.",
            "s",
            *(_latency(quantile) for quantile in (0.5, 0.95, 0.99)),
            lines=[(0.1, RED)],
            alerts=["ApiLatencyBudgetBurningFast", "ApiLatencyBudgetBurningSlowly"],
            colors=QUANTILES,
        ),
        *_refused(),
    ]


def _refused() -> list[Panel]:
    return [
        graph(
            "Rejected requests by reason",
            "Requests per second that were refused because of their content.",
            "reqps",
            Query(f"sum by (reason) (rate(vigie_rejected_requests_total{{{HERE}, {MODEL}}}{RATE}))", "{{reason}}"),
            span=12,
            stacked=True,
            many=True,
        ),
        graph(
            "Callers not let in, by reason",
            "Requests per second without a valid key, without the needed scope, or above the key's rate limit.",
            "reqps",
            Query(f"sum by (reason) (rate(vigie_denied_requests_total{{{HERE}}}{RATE}))", "{{reason}}"),
            span=12,
            stacked=True,
            many=True,
        ),
        number(
            "API keys",
            "Number of keys; 0 if callers need none.",
            "none",
            Query(f"max(vigie_api_keys{{{HERE}}})"),
            span=12,
        ),
        number(
            "Key file",
            "Whether the API could read it after its last change.",
            "none",
            Query(f"min(vigie_api_keys_sound{{{HERE}}})"),
            alerts=["ApiKeysUnreadable"],
            span=12,
            words={"1": ("valid", GREEN), "0": ("UNREADABLE", RED)},
        ),
    ]


def _versions() -> Section:
    by_version = "model, model_version"
    buckets = f"sum by (le, {by_version}) (rate(vigie_prediction_seconds_bucket{{{HERE}, {MODEL}}}{RATE}))"
    failed = f"sum by ({by_version}) (rate(vigie_prediction_failures_total{{{HERE}, {MODEL}}}{RATE}))"
    called = f"sum by ({by_version}) (rate(vigie_prediction_seconds_count{{{HERE}, {MODEL}}}{RATE}))"
    return "Models and versions", [
        graph(
            "Latency by version (p95)",
            "95 of 100 calls are predicted and logged faster than this: compare versions before and after a reload.",
            "s",
            Query(f"histogram_quantile(0.95, {buckets})", "{{model}} {{model_version}}"),
            span=12,
            many=True,
        ),
        graph(
            "Failures by version",
            "Share of the calls that got no prediction: the model gave no finite answer, or the log took none.",
            "percentunit",
            Query(f"{failed} / ({called} > 0)", "{{model}} {{model_version}}"),
            span=12,
            maximum=1,
            many=True,
        ),
        number(
            "Build",
            "Versions of Vigie and of the model that serve now. Two of one model are normal during a roll-out only.",
            "none",
            Query(
                f"0 * {BUILDS} + on (model) group_left () count by (model) ({BUILDS})",
                "{{version}}: {{model}} {{model_version}}",
            ),
            steps=[(0, GREEN), (2, AMBER)],
            words={"1": ("serves alone", GREEN), "2": ("ONE OF 2", AMBER), "3": ("ONE OF 3", AMBER)},
            span=8,
            shown=BigValueTextMode.VALUE_AND_NAME,
        ),
        number(
            "Processes behind",
            "Processes that could not load the newest version of the model; their log says why.",
            "short",
            Query(f"max(vigie_model_behind{{{MODEL}}})"),
            limit=limit_of("ModelBehind"),
        ),
        number(
            "Models that do not serve",
            "Of several models, those whose artifact or own settings are not valid; GET /models says why.",
            "none",
            Query("count(min by (model) (vigie_model_serving) == 0) or vector(0)"),
            limit=limit_of("ModelDisabled"),
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
            Query(f"sum(rate(vigie_predicted_rows_total{{{HERE}, {MODEL}}}{RATE}))", "rows predicted"),
            Query(f"sum(rate(vigie_stored_labels_total{{{HERE}, {MODEL}}}{RATE}))", "labels stored"),
        ),
        graph(
            "Rows in a request",
            "50 and 99 of 100 requests to predict have at most this many rows.",
            "short",
            Query(f"ceil(histogram_quantile(0.5, {rows}))", "p50"),
            Query(f"ceil(histogram_quantile(0.99, {rows}))", "p99"),
            decimals=0,
            colors=QUANTILES,
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
            colors=QUANTILES,
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
    made, failed = 'outcome=~"posted|skipped"', 'outcome=~"failed|worker_failed"'
    return "Snapshots", [
        graph(
            "Behind",
            "Time since the oldest window without a snapshot ended, or should have; 0 if none waits.",
            "s",
            Query(f"max by (job, model) (vigie_snapshot_behind_seconds{{{MODEL}}})", "behind {{model}}"),
            limit=limit_of("SnapshotsLate"),
            span=12,
        ),
        graph(
            "Duration of the last snapshot",
            "Time to measure and post a window. It must be shorter than a window.",
            "s",
            Query(f"max by (model) (vigie_snapshot_last_duration_seconds{{{MODEL}}})", "duration {{model}}"),
            span=12,
        ),
        graph(
            "Tries of windows in 30 minutes",
            "Attempts to make a snapshot, by outcome. The failed ones are beside this.",
            "short",
            Query(
                f"round(sum by (outcome) (increase(vigie_snapshot_windows_total{{{made}, {MODEL}}}[30m])))",
                "{{outcome}}",
            ),
            span=12,
            decimals=0,
            stacked=True,
            colors={"posted": GREEN, "skipped": BLUE},
        ),
        graph(
            "Failed tries in 30 minutes",
            "Attempts that made no snapshot: of a window, and those that ended its process.",
            "short",
            Query(
                f"sum by (outcome) (increase(vigie_snapshot_windows_total{{{failed}, {MODEL}}}[30m]))", "{{outcome}}"
            ),
            limit=limit_of("SnapshotsFailing"),
            span=12,
            decimals=0,
            stacked=True,
            colors={"failed": AMBER, "worker_failed": PURPLE},
        ),
        *_snapshot_numbers(),
    ]


def _snapshot_numbers() -> list[Panel]:
    return [
        number(
            "Holders of the lease",
            "API processes that make snapshots; it must be exactly one.",
            "none",
            Query("sum(vigie_snapshot_lease_held)"),
            alerts=["SnapshotLeaseLost"],
            steps=[(0, RED), (1, GREEN), (just_above(1), RED)],
        ),
        number(
            "Evidently UI",
            "Whether it answered the last request of the API.",
            "none",
            Query("max(vigie_evidently_up)"),
            alerts=["EvidentlyDown"],
            words={"1": ("up", GREEN), "0": ("DOWN", RED)},
        ),
        number(
            "Surroundings last looked at",
            "Age of the values shown for the lease, the windows and Evidently UI.",
            "s",
            Query("max(time() - (vigie_status_timestamp_seconds > 0))"),
            limit=limit_of("ApiStatusStale"),
            lowest=BELOW_ALL,
        ),
        number(
            "Posts of model alerts that failed",
            "Alerts on the model's health that Alertmanager did not accept, in 15 minutes.",
            "short",
            Query('sum(increase(vigie_alert_posts_total{outcome!="sent"}[15m]))'),
            limit=limit_of("ModelAlertsNotSent"),
            span=9,
        ),
        number(
            "Windows ahead of the clock",
            "How far closed windows lie in the future, after a clock was wrong; 0 is normal.",
            "s",
            Query(f"max(vigie_snapshot_ahead_seconds{{{MODEL}}})"),
            limit=limit_of("SnapshotsAheadOfClock"),
        ),
        number(
            "Windows given up",
            "Windows that failed for a day and will not be tried again, in one hour.",
            "short",
            Query(f'sum(increase(vigie_snapshot_windows_total{{outcome="given_up", {MODEL}}}[1h]))'),
            limit=limit_of("SnapshotGivenUp"),
            decimals=0,
            span=7,
        ),
    ]


def _retention() -> Section:
    return "Retention", [
        graph(
            "Removed because of its age, in a day",
            "Removed rows of the log, snapshots, values of snapshots, and reports.",
            "short",
            Query("sum by (kind) (increase(vigie_retention_removed_total[1d]))", "{{kind}}"),
            span=12,
            many=True,
        ),
        graph(
            "Freed by that, in a day",
            "Snapshots count with their size when posted. A log on PostgreSQL reuses its space and frees none.",
            "bytes",
            Query("sum by (store) (increase(vigie_retention_freed_bytes_total[1d]))", "{{store}}"),
            span=12,
        ),
        number(
            "Failed runs of retention",
            "Runs that could not remove all old data, in 6 hours.",
            "short",
            Query('sum(increase(vigie_retention_runs_total{outcome="failed"}[6h]))'),
            limit=limit_of("RetentionFailing"),
            span=12,
        ),
        number(
            "Rows older than they may be",
            "By how much the oldest row of the log is past its age after the last run; 0 is normal.",
            "s",
            Query("max(vigie_retention_overdue_seconds)"),
            limit=limit_of("RetentionBehind"),
            span=12,
        ),
    ]
