"""Owns the dashboard that says which container lacks what. Right on cgroup v1 and v2."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.grafana.builders.alert_limits import limit_of
from observability.grafana.builders.dashboard import Section, dashboard, variable
from observability.grafana.builders.panels import AMBER, GREEN, RED, Query, graph, number

HERE = 'job="cadvisor", instance=~"$instance", container=~"$container"'
RATE = "[$__rate_interval]"


def containers() -> Dashboard:
    """Build the dashboard."""
    variables = [
        variable("instance", "Instance", 'label_values(up{job="cadvisor"}, instance)'),
        variable("container", "Container", 'label_values(container_last_seen{job="cadvisor"}, container)'),
    ]
    text = "What each container uses of CPU, memory, network and disk, against its limits; restarts and health."
    return dashboard("vigie-containers", text, variables, [_state(), _processor_and_memory(), _input_and_output()])


def _rate(metric: str, window: str = RATE) -> str:
    # cgroup v1 may tell CPU by core, and disks come by device: the sum is right for each
    return f"sum by (container) (rate({metric}{{{HERE}}}{window}))"


def _state() -> Section:
    return "State", [
        number(
            "Health",
            "What each container's health check says. Alert: ContainerUnhealthy, ContainerMissing.",
            "none",
            Query(f"max by (container) (container_health_state{{{HERE}}})", "{{container}}"),
            span=24,
            words={"1": ("healthy", GREEN), "0": ("UNHEALTHY", RED), "-1": ("no check", AMBER)},
        ),
        graph(
            "Restarts in 15 minutes",
            "How often the CPU counter began anew, which it does with each start.",
            "short",
            Query(f"max by (container) (resets(container_cpu_usage_seconds_total{{{HERE}}}[15m]))", "{{container}}"),
            limit=limit_of("ContainerRestarting"),
            span=12,
        ),
        graph(
            "Killed for want of memory",
            "Processes that the kernel killed within ten minutes.",
            "short",
            Query(f"sum by (container) (increase(container_oom_events_total{{{HERE}}}[10m]))", "{{container}}"),
            limit=limit_of("ContainerOutOfMemory"),
            span=12,
        ),
    ]


def _processor_and_memory() -> Section:
    throttled = _rate("container_cpu_cfs_throttled_periods_total", "[5m]")
    working_set, limit = f"container_memory_working_set_bytes{{{HERE}}}", f"container_spec_memory_limit_bytes{{{HERE}}}"
    return "CPU and memory", [
        graph("CPU", "Cores in use.", "none", Query(_rate("container_cpu_usage_seconds_total"), "{{container}}")),
        graph(
            "Throttled",
            "Share of the periods in which the container wanted more CPU than its limit. Without a limit: nothing.",
            "percentunit",
            Query(f"{throttled} / ({_rate('container_cpu_cfs_periods_total', '[5m]')} > 0)", "{{container}}"),
            limit=limit_of("ContainerCpuThrottled"),
            maximum=1,
        ),
        graph(
            "Memory",
            "Working set: what the kernel cannot take back at once.",
            "bytes",
            Query(f"sum by (container) ({working_set})", "{{container}}"),
        ),
        graph(
            "Memory against its limit",
            "Working set as a share of the limit. Without a limit: nothing.",
            "percentunit",
            Query(f"max by (container) ({working_set} / ({limit} > 0))", "{{container}}"),
            limit=limit_of("ContainerMemoryNearLimit"),
            span=24,
            maximum=1,
        ),
    ]


def _input_and_output() -> Section:
    return "Network and disk", [
        graph(
            "Received",
            "Bytes a second from the network.",
            "Bps",
            Query(_rate("container_network_receive_bytes_total"), "{{container}}"),
            span=6,
        ),
        graph(
            "Sent",
            "Bytes a second to the network.",
            "Bps",
            Query(_rate("container_network_transmit_bytes_total"), "{{container}}"),
            span=6,
        ),
        graph(
            "Read",
            "Bytes a second from disks, what the page cache holds left out.",
            "Bps",
            Query(_rate("container_fs_reads_bytes_total"), "{{container}}"),
            span=6,
        ),
        graph(
            "Written",
            "Bytes a second to disks.",
            "Bps",
            Query(_rate("container_fs_writes_bytes_total"), "{{container}}"),
            span=6,
        ),
    ]
