"""The dashboard that shows whether everything is well and, if not, where to look."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.grafana.builders.alert_limits import burn_rates, objective_of
from observability.grafana.builders.dashboard import EVIDENTLY, Panel, Section, dashboard
from observability.grafana.builders.panels import (
    AMBER,
    BELOW_ALL,
    BLUE,
    DASH,
    GREEN,
    PURPLE,
    RED,
    STATUS_COLORS,
    Column,
    Query,
    Steps,
    graph,
    listing,
    note,
    number,
)
from observability.grafana.builders.runbook import UID as RUNBOOK
from observability.grafana.builders.runbook import numbers

ERRORS_FAST, ERRORS_SLOWLY = "ApiErrorBudgetBurningFast", "ApiErrorBudgetBurningSlowly"
LATENCY_FAST, LATENCY_SLOWLY = "ApiLatencyBudgetBurningFast", "ApiLatencyBudgetBurningSlowly"
UP = {"1": ("up", GREEN), "0": ("DOWN", RED)}
LEFT: Steps = [(BELOW_ALL, RED), (0, AMBER), (0.25, GREEN)]
SEVERITIES = {"critical": ("critical", RED), "warning": ("warning", AMBER)}
WINDOWS = {"5m": GREEN, "1h": BLUE, "6h": PURPLE, "1d": "semi-dark-blue", "3d": "semi-dark-purple"}

FAILED = (
    '(sum(increase(http_requests_total{job="api", status="5xx"}[30d])) or vector(0))'
    ' / (sum(increase(http_requests_total{job="api"}[30d])) > 0)'
)
SLOW = (
    '1 - sum(increase(http_request_duration_seconds_bucket{job="api", handler=~"(/models/.*)?/predict", '
    'le="0.1"}[30d]))'
    ' / (sum(increase(http_request_duration_seconds_count{job="api", handler=~"(/models/.*)?/predict"}[30d])) > 0)'
)
REACHABLE = 'avg_over_time(max(up{job="api"})[30d:1m]) or max(up{job="api"})'
FIRING = 'ALERTS{alertstate="firing", alertname!="Watchdog"}'
ABOUT = ", ".join(
    f'"{label}"' for label in ("container", "integration", "rule_group", "slo", "mountpoint", "instance", "job")
)
"""The labels that say what an alert is about, joined in this order."""
SINCE = f'1000 * ALERTS_FOR_STATE{{alertname!="Watchdog"}} and ignoring (alertstate) {FIRING}'
JOINED = f'label_replace(label_join({SINCE}, "about", " ", {ABOUT}), "about", "$1", "about", " *(.*?) *")'
LISTED = f'label_replace(label_replace({JOINED}, "about", "{DASH}", "about", ""), "entry", "$1", "alertname", "(.+)")'
MODEL_ALERTS = (
    'clamp_min(max(sum by (instance) (alertmanager_alerts{state=~"active|suppressed"}))'
    ' - (count(ALERTS{alertstate="firing"}) or vector(0)), 0)'
)
"""What Alertmanager has and Prometheus did not send: the API did."""
OF_THE_HOLDER = (
    "sum by (severity) (max by (severity, model) (vigie_model_alerts and on (instance) vigie_snapshot_lease_held == 1))"
)
"""Of all models. Only the holder of the lease looks at the windows: what others saw before is old."""
LINKS = f"""The values are in [Evidently UI](${{{EVIDENTLY}:raw}}), one dashboard a model, and in the report that each
alert names. Grafana never shows them: it says whether somebody has to look there."""


def overview() -> Dashboard:
    """Build the dashboard."""
    text = "Is everything well? Objectives and the rest of their budgets, firing alerts, and the parts that are up."
    return dashboard("vigie-overview", text, [], [_objectives(), _now(), _models(), _burning()])


def _objectives() -> Section:
    errors, latency = objective_of(ERRORS_FAST), objective_of(LATENCY_FAST)
    return "Objectives over 30 days", [
        number(
            "API reachable",
            "Share of the time in which Prometheus reached at least one process of the API, as its callers would.",
            "percentunit",
            Query(REACHABLE),
            steps=[(BELOW_ALL, RED), (1 - errors, GREEN)],
            decimals=3,
        ),
        number(
            "Answered requests without 5xx",
            "Share of the answers that are no 5xx; the objective is 99.9 %. Calls without an answer do not count: see"
            " API reachable.",
            "percentunit",
            Query(f"1 - ({FAILED})"),
            steps=[(BELOW_ALL, RED), (1 - errors, GREEN)],
            decimals=3,
        ),
        number(
            "Error budget left",
            "Share of the failures allowed in 30 days that is left. Below 0 % the objective is missed.",
            "percentunit",
            Query(f"1 - ({FAILED}) / {errors:g}"),
            steps=LEFT,
            decimals=1,
        ),
        number(
            "Predictions under 100 ms",
            "Share of calls of POST /predict that took at most 100 ms. The objective is 99 %.",
            "percentunit",
            Query(f"1 - ({SLOW})"),
            steps=[(BELOW_ALL, RED), (1 - latency, GREEN)],
            span=12,
            decimals=2,
        ),
        number(
            "Latency budget left",
            "Share of the slow predictions allowed in 30 days that is left. Below 0 % the objective is missed.",
            "percentunit",
            Query(f"1 - ({SLOW}) / {latency:g}"),
            steps=LEFT,
            span=12,
            decimals=1,
        ),
    ]


def _now() -> Section:
    return "Now", [
        number(
            "Everything up",
            "Whether Prometheus can scrape each part; parts not listed are not watched.",
            "none",
            Query("up", "{{job}}"),
            alerts=["ApiDown", "MonitorDown"],
            span=24,
            words=UP,
        ),
        number(
            "Evidently UI",
            "Whether it answered the last request of the API.",
            "none",
            Query("max(vigie_evidently_up)", "Evidently UI"),
            alerts=["EvidentlyDown"],
            words=UP,
        ),
        number(
            "Windows waiting",
            "Windows that have ended and have no snapshot yet. One is normal for a short time.",
            "short",
            Query("sum(max by (model) (vigie_snapshot_windows_waiting))"),
        ),
        number(
            "Last snapshot",
            "Time since the newest snapshot was posted. There are no snapshots without traffic.",
            "s",
            Query("time() - (max(vigie_snapshot_last_posted_timestamp_seconds) > 0)"),
            lowest=BELOW_ALL,
        ),
        _firing(),
        number(
            "Open model alerts",
            "Alerts on the model's health that Alertmanager has: the API sends them, so they are not in the list.",
            "none",
            Query(MODEL_ALERTS),
            decimals=0,
            steps=[(0, GREEN), (1, AMBER)],
            span=6,
            height=8,
        ),
    ]


def _firing() -> Panel:
    return listing(
        "Firing alerts",
        "Alerts that fire in Prometheus. Those on the model's health are counted beside this.",
        Query(f"max by (alertname, severity, about, entry) ({LISTED})"),
        columns=[
            Column("severity", "Severity", words=SEVERITIES, colored=True),
            Column("alertname", "Alert"),
            Column("about", "What"),
            Column("Value", "Since", unit="dateTimeFromNow"),
            Column(
                "entry",
                "Runbook entry",
                words={name: (str(number), None) for name, number in numbers().items()},
                link=("Open the runbook", f"/d/{RUNBOOK}?viewPanel=${{__value.text}}"),
            ),
        ],
        empty="Nothing is firing.",
        sort=["Severity", "Since"],
        span=18,
    )


def _models() -> Section:
    return "What the model says", [
        number(
            "Model alerts by severity",
            "Checks of the model's windows that fire now, as the API counts them.",
            "none",
            Query(OF_THE_HOLDER, "{{severity}}"),
            steps=[(0, GREEN), (1, AMBER)],
            span=12,
        ),
        note("Where to look", "Evidently UI has the model's health.", LINKS, span=12),
    ]


def _burning() -> Section:
    return "Traffic, and how fast the budgets burn", [
        graph(
            "Requests",
            "Requests per second by status, without health checks and scrapes.",
            "reqps",
            Query('sum by (status) (rate(http_requests_total{job="api"}[$__rate_interval]))', "{{status}}"),
            span=24,
            stacked=True,
            colors=STATUS_COLORS,
        ),
        _burn_rate("errors", "http_requests_failed", ERRORS_FAST, ERRORS_SLOWLY),
        _burn_rate("latency", "predictions_slow", LATENCY_FAST, LATENCY_SLOWLY),
    ]


def _burn_rate(what: str, series: str, fast: str, slowly: str) -> Panel:
    pages, tickets = burn_rates(fast), burn_rates(slowly)
    lines: Steps = [*((rate, AMBER) for rate in tickets), *((rate, RED) for rate in pages)]
    return graph(
        f"Burn rate of the budget for {what}",
        "At 1 the budget lasts exactly 30 days. An alert fires when a long and a short window are above a line: 1 h at"
        f" {pages[1]:g}, 6 h at {pages[0]:g}, 1 d at {tickets[1]:g}, 3 d at {tickets[0]:g}.",
        "none",
        *(Query(f"job:{series}:ratio_rate{w} / {objective_of(fast):g}", w) for w in WINDOWS),
        span=12,
        lines=lines,
        colors=WINDOWS,
        alerts=[fast, slowly],
    )
