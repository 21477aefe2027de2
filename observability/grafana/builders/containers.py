"""The dashboard that shows which container lacks resources. It is correct on cgroup v1 and v2."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.grafana.builders.alert_limits import limit_of
from observability.grafana.builders.dashboard import Section, dashboard, variable
from observability.grafana.builders.panels import AMBER, GREEN, RED, Query, graph, number

HERE = 'job="cadvisor", instance=~"$instance", container=~"$container"'
RATE = "[$__rate_interval]"
SEEN = f"container_last_seen{{{HERE}}}"
HEALTH = (
    f"max by (container) (container_health_state{{{HERE}}})"
    f' or (0 * max by (container) (max_over_time({SEEN}[1h]) and on (instance) up{{job="cadvisor"}} == 1) - 2'
    f" unless max by (container) ({SEEN}))"
)
"""A container is missing only while its cAdvisor answers: of others nothing is known."""


def containers() -> Dashboard:
    """Build the dashboard."""
    variables = [
        variable("instance", "Instance", 'label_values(up{job="cadvisor"}, instance)'),
        variable("container", "Container", 'label_values(container_last_seen{job="cadvisor"}, container)'),
    ]
    text = "CPU, memory, network and disk of each container, compared with its limits; restarts and health."
    sections = [_state(), _processor_and_memory(), _input_and_output()]
    return dashboard("vigie-containers", text, variables, sections, subject="containers")


def _rate(metric: str, window: str = RATE) -> str:
    # cgroup v1 may report CPU by core, and disks are reported by device: the sum is correct in each case
    return f"sum by (container) (rate({metric}{{{HERE}}}{window}))"


def _state() -> Section:
    return "State", [
        number(
            "Health",
            "Result of each container's health check. MISSING: it was there within the last hour.",
            "none",
            Query(HEALTH, "{{container}}"),
            alerts=["ContainerUnhealthy", "ContainerMissing"],
            span=24,
            words={"1": ("healthy", GREEN), "0": ("UNHEALTHY", RED), "-1": ("no check", AMBER), "-2": ("MISSING", RED)},
        ),
        graph(
            "Restarts in 15 minutes",
            "How often the CPU counter was reset, which happens at each start.",
            "short",
            Query(f"max by (container) (resets(container_cpu_usage_seconds_total{{{HERE}}}[15m]))", "{{container}}"),
            limit=limit_of("ContainerRestarting"),
            span=12,
            decimals=0,
            many=True,
        ),
        graph(
            "Killed for want of memory",
            "Processes that the kernel killed within ten minutes because memory ran out.",
            "short",
            Query(f"sum by (container) (increase(container_oom_events_total{{{HERE}}}[10m]))", "{{container}}"),
            limit=limit_of("ContainerOutOfMemory"),
            span=12,
            decimals=0,
            many=True,
        ),
    ]


def _processor_and_memory() -> Section:
    throttled = _rate("container_cpu_cfs_throttled_periods_total", "[5m]")
    working_set, limit = f"container_memory_working_set_bytes{{{HERE}}}", f"container_spec_memory_limit_bytes{{{HERE}}}"
    return "CPU and memory", [
        graph(
            "CPU",
            "Cores in use.",
            "none",
            Query(_rate("container_cpu_usage_seconds_total"), "{{container}}"),
            span=12,
            many=True,
        ),
        graph(
            "Throttled",
            "Share of the periods in which the container needed more CPU than its limit, if it has one.",
            "percentunit",
            Query(f"{throttled} / ({_rate('container_cpu_cfs_periods_total', '[5m]')} > 0)", "{{container}}"),
            limit=limit_of("ContainerCpuThrottled"),
            maximum=1,
            span=12,
            many=True,
        ),
        graph(
            "Memory",
            "Working set: the memory that the kernel cannot reclaim at once.",
            "bytes",
            Query(f"sum by (container) ({working_set})", "{{container}}"),
            span=12,
            many=True,
        ),
        graph(
            "Memory against its limit",
            "Working set as a share of the limit, for containers that have one.",
            "percentunit",
            Query(f"max by (container) ({working_set} / ({limit} > 0))", "{{container}}"),
            limit=limit_of("ContainerMemoryNearLimit"),
            span=12,
            many=True,
            maximum=1,
        ),
    ]


def _input_and_output() -> Section:
    return "Network and disk", [
        graph(
            "Received",
            "Bytes per second from the network.",
            "Bps",
            Query(_rate("container_network_receive_bytes_total"), "{{container}}"),
            span=12,
            many=True,
        ),
        graph(
            "Sent",
            "Bytes per second to the network.",
            "Bps",
            Query(_rate("container_network_transmit_bytes_total"), "{{container}}"),
            span=12,
            many=True,
        ),
        graph(
            "Read",
            "Bytes per second from disks, without reads from the page cache.",
            "Bps",
            Query(_rate("container_fs_reads_bytes_total"), "{{container}}"),
            span=12,
            many=True,
        ),
        graph(
            "Written",
            "Bytes per second to disks.",
            "Bps",
            Query(_rate("container_fs_writes_bytes_total"), "{{container}}"),
            span=12,
            many=True,
        ),
    ]
