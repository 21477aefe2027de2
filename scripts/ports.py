"""The ports of the services, and which are free. Only the standard library: doctor runs where nothing is installed."""

import errno
import socket

HOST = "127.0.0.1"
API_PORT, UI_PORT = 8000, 8001
PROMETHEUS_PORT, ALERTMANAGER_PORT, GRAFANA_PORT = 9090, 9093, 3000
API_URL = f"http://{HOST}:{API_PORT}"


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen here now; raises OSError if the host is not this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do, so that connections still closing after a restart do not make the port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
        return True


def free_port(host: str = HOST) -> int:
    """Return a port that is free at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
