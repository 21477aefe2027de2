"""The dashboard that shows whether the host has the resources that its containers need."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.grafana.builders.alert_limits import limit_of
from observability.grafana.builders.dashboard import Section, dashboard, variable
from observability.grafana.builders.panels import AMBER, BLUE, GREEN, PURPLE, RED, Query, graph, number

HERE = 'job="node-exporter", instance=~"$instance"'
DISKS = f'{HERE}, fstype!~"tmpfs|ramfs|overlay|squashfs|iso9660"'
RATE = "[$__rate_interval]"
MODES = {
    "user": GREEN,
    "system": BLUE,
    "nice": PURPLE,
    "iowait": AMBER,
    "steal": "semi-dark-orange",
    "irq": "semi-dark-blue",
    "softirq": "semi-dark-purple",
}
"""Red is for what fails: the usual colours give it to the fifth of any series."""


def host() -> Dashboard:
    """Build the dashboard."""
    variables = [variable("instance", "Instance", 'label_values(up{job="node-exporter"}, instance)')]
    text = "CPU, load, memory, disks, network, pressure and clock of the host."
    return dashboard("vigie-host", text, variables, [_processor(), _memory_and_disk(), _rest()], subject="host")


def _processor() -> Section:
    cores = f'count by (job, instance) (node_cpu_seconds_total{{{HERE}, mode="idle"}})'
    return "CPU", [
        graph(
            "CPU busy",
            "Share of all cores that is not idle.",
            "percentunit",
            Query(
                f'1 - avg by (job, instance) (rate(node_cpu_seconds_total{{{HERE}, mode="idle"}}[5m]))',
                "{{instance}}",
            ),
            limit=limit_of("HostCpuBusy"),
            maximum=1,
        ),
        graph(
            "CPU by mode",
            "Cores in use. iowait: waiting for a disk. steal: used by another virtual machine on the same hardware.",
            "none",
            Query(f'sum by (mode) (rate(node_cpu_seconds_total{{{HERE}, mode!="idle"}}{RATE}))', "{{mode}}"),
            stacked=True,
            colors=MODES,
        ),
        graph(
            "Load for each core",
            "Tasks that run or wait, as an average of five minutes.",
            "none",
            Query(f"node_load5{{{HERE}}} / on (job, instance) {cores}", "{{instance}}"),
            limit=limit_of("HostLoadHigh"),
        ),
    ]


def _memory_and_disk() -> Section:
    reads, writes = "node_disk_read_bytes_total", "node_disk_written_bytes_total"
    return "Memory and disk", [
        graph(
            "Memory available",
            "Share of the memory that is available without swapping.",
            "percentunit",
            Query(f"node_memory_MemAvailable_bytes{{{HERE}}} / node_memory_MemTotal_bytes{{{HERE}}}", "{{instance}}"),
            limit=limit_of("HostMemoryLow"),
            maximum=1,
        ),
        graph(
            "Disk free",
            "Share of each file system that is free.",
            "percentunit",
            Query(f"node_filesystem_avail_bytes{{{DISKS}}} / node_filesystem_size_bytes{{{DISKS}}}", "{{mountpoint}}"),
            limit=limit_of("HostDiskAlmostFull"),
            maximum=1,
        ),
        graph(
            "Disk free in a day",
            "Forecast from the last six hours, once there are three. Below 0 the disk will be full.",
            "bytes",
            Query(
                f"predict_linear(node_filesystem_avail_bytes{{{DISKS}}}[6h], 24 * 3600)"
                f" and node_filesystem_avail_bytes{{{DISKS}}} offset 3h",
                "{{mountpoint}}",
            ),
            limit=limit_of("HostDiskFillsSoon"),
            minimum=None,
        ),
        graph(
            "Disk reads and writes",
            "Bytes per second by device.",
            "Bps",
            Query(f"sum by (device) (rate({reads}{{{HERE}}}{RATE}))", "{{device}} read"),
            Query(f"sum by (device) (rate({writes}{{{HERE}}}{RATE}))", "{{device}} written"),
            span=12,
        ),
        graph(
            "Killed for want of memory",
            "Processes that the kernel killed within ten minutes because memory ran out.",
            "short",
            Query(f"increase(node_vmstat_oom_kill{{{HERE}}}[10m])", "{{instance}}"),
            limit=limit_of("HostOutOfMemory"),
            span=12,
            decimals=0,
        ),
    ]


def _rest() -> Section:
    waiting = {"CPU": "cpu_waiting", "memory": "memory_waiting", "disk": "io_waiting"}
    devices = f'{HERE}, device!~"lo|veth.*|br-.*|docker.*"'
    return "Network, pressure, clock", [
        graph(
            "Network",
            "Bytes per second by device, without the devices of containers.",
            "Bps",
            Query(
                f"sum by (device) (rate(node_network_receive_bytes_total{{{devices}}}{RATE}))", "{{device}} received"
            ),
            Query(f"sum by (device) (rate(node_network_transmit_bytes_total{{{devices}}}{RATE}))", "{{device}} sent"),
            span=12,
            many=True,
        ),
        graph(
            "Pressure",
            "Share of the time in which some task waits for the resource. Kernels without PSI do not report it.",
            "percentunit",
            *(
                Query(f"rate(node_pressure_{metric}_seconds_total{{{HERE}}}{RATE})", f"{what} {{{{instance}}}}")
                for what, metric in waiting.items()
            ),
            span=12,
        ),
        graph(
            "Clock off by",
            "As the kernel estimates it.",
            "s",
            Query(f"abs(node_timex_offset_seconds{{{HERE}}})", "{{instance}}"),
            limit=limit_of("HostClockWrong"),
        ),
        graph(
            "File descriptors",
            "Open files as a share of the maximum.",
            "percentunit",
            Query(f"node_filefd_allocated{{{HERE}}} / node_filefd_maximum{{{HERE}}}", "{{instance}}"),
            limit=limit_of("HostFileDescriptorsLow"),
            maximum=1,
        ),
        number(
            "Clock synchronised",
            "Whether a time service synchronises the clock.",
            "none",
            Query(f"node_timex_sync_status{{{HERE}}}", "{{instance}}"),
            alerts=["HostClockNotSynchronised"],
            height=8,
            words={"1": ("synchronised", GREEN), "0": ("NOT SYNCHRONISED", RED)},
        ),
    ]
