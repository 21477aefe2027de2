"""The dashboard that shows whether everything is well and, if not, where to look."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.grafana.builders.alert_limits import burn_rates, objective_of
from observability.grafana.builders.dashboard import Panel, Section, dashboard
from observability.grafana.builders.panels import AMBER, GREEN, RED, Query, Steps, graph, listing, number

ERRORS_FAST, ERRORS_SLOWLY = "ApiErrorBudgetBurningFast", "ApiErrorBudgetBurningSlowly"
LATENCY_FAST, LATENCY_SLOWLY = "ApiLatencyBudgetBurningFast", "ApiLatencyBudgetBurningSlowly"
UP = {"1": ("up", GREEN), "0": ("DOWN", RED)}
LEFT: Steps = [(None, RED), (0, AMBER), (0.25, GREEN)]

FAILED = (
    '(sum(increase(http_requests_total{job="api", status="5xx"}[30d])) or vector(0))'
    ' / (sum(increase(http_requests_total{job="api"}[30d])) > 0)'
)
SLOW = (
    '1 - sum(increase(http_request_duration_seconds_bucket{job="api", handler="/predict", le="0.1"}[30d]))'
    ' / (sum(increase(http_request_duration_seconds_count{job="api", handler="/predict"}[30d])) > 0)'
)


def overview() -> Dashboard:
    """Build the dashboard."""
    text = "Is everything well? Objectives and the rest of their budgets, firing alerts, and the parts that are up."
    return dashboard("vigie-overview", text, [], [_objectives(), _now(), _burning()])


def _objectives() -> Section:
    errors, latency = objective_of(ERRORS_FAST), objective_of(LATENCY_FAST)
    return "Objectives over 30 days", [
        number(
            "Answered without 5xx",
            "Share of requests without a 5xx answer. The objective is 99.9 %.",
            "percentunit",
            Query(f"1 - ({FAILED})"),
            steps=[(None, RED), (1 - errors, GREEN)],
            span=6,
            decimals=3,
        ),
        number(
            "Error budget left",
            "Share of the failures allowed in 30 days that is left. Below 0 % the objective is missed.",
            "percentunit",
            Query(f"1 - ({FAILED}) / {errors:g}"),
            steps=LEFT,
            span=6,
            decimals=1,
        ),
        number(
            "Predictions under 100 ms",
            "Share of calls of POST /predict that took at most 100 ms. The objective is 99 %.",
            "percentunit",
            Query(f"1 - ({SLOW})"),
            steps=[(None, RED), (1 - latency, GREEN)],
            span=6,
            decimals=2,
        ),
        number(
            "Latency budget left",
            "Share of the slow predictions allowed in 30 days that is left. Below 0 % the objective is missed.",
            "percentunit",
            Query(f"1 - ({SLOW}) / {latency:g}"),
            steps=LEFT,
            span=6,
            decimals=1,
        ),
    ]


def _now() -> Section:
    return "Now", [
        number(
            "Everything up",
            "Whether Prometheus can scrape each part; parts not listed are not watched. Alert: ApiDown, MonitorDown.",
            "none",
            Query("up", "{{job}}"),
            span=12,
            words=UP,
        ),
        number(
            "Evidently UI",
            "Whether it answered the last request of the API. Alert: EvidentlyDown.",
            "none",
            Query("max(vigie_evidently_up)", "Evidently UI"),
            words=UP,
        ),
        number(
            "Windows waiting",
            "Windows that have ended and have no snapshot yet. One is normal for a short time.",
            "short",
            Query("max(vigie_snapshot_windows_waiting)"),
        ),
        number(
            "Last snapshot",
            "Time since the newest snapshot was posted. There are no snapshots without traffic.",
            "s",
            Query("time() - (max(vigie_snapshot_last_posted_timestamp_seconds) > 0)"),
        ),
        listing(
            "Firing alerts",
            "Alerts that fire in Prometheus; docs/runbook.md has an entry for each. Alerts on the model's health come"
            " from the snapshots and are in Alertmanager and in Evidently UI.",
            Query('ALERTS{alertstate="firing", alertname!="Watchdog"}'),
            hidden=["alertstate"],
        ),
    ]


def _burning() -> Section:
    return "Traffic, and how fast the budgets burn", [
        graph(
            "Requests",
            "Requests per second by status, without health checks and scrapes.",
            "reqps",
            Query('sum by (status) (rate(http_requests_total{job="api"}[$__rate_interval]))', "{{status}}"),
            stacked=True,
        ),
        _burn_rate("errors", "http_requests_failed", ERRORS_FAST, ERRORS_SLOWLY),
        _burn_rate("latency", "predictions_slow", LATENCY_FAST, LATENCY_SLOWLY),
    ]


def _burn_rate(what: str, series: str, fast: str, slowly: str) -> Panel:
    pages, tickets = burn_rates(fast), burn_rates(slowly)
    steps: Steps = [(None, GREEN), *((rate, AMBER) for rate in tickets), *((rate, RED) for rate in pages)]
    return graph(
        f"Burn rate of the budget for {what}",
        "At 1 the budget lasts exactly 30 days. An alert fires when a long and a short window are above a line: 1 h at"
        f" {pages[1]:g}, 6 h at {pages[0]:g}, 1 d at {tickets[1]:g}, 3 d at {tickets[0]:g}.",
        "none",
        *(Query(f"job:{series}:ratio_rate{w} / {objective_of(fast):g}", w) for w in ("5m", "1h", "6h", "1d", "3d")),
        steps=steps,
        alerts=[fast, slowly],
    )
