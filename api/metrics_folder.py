"""The folder through which several workers of one API share their metrics (PROMETHEUS_MULTIPROC_DIR).

Each worker keeps its values in files named by its pid, and the worker that is scraped adds up all files. Files of an
earlier run would be added too, so the launcher calls `prepare_metrics_folder` before it starts its workers.
"""

import os
import re
from pathlib import Path

from prometheus_client import multiprocess

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PID = re.compile(r"_(\d+)\.db$")


def metrics_folder() -> Path | None:
    """Return the folder that the workers share; None with one worker, whose metrics stay in its memory."""
    path = os.environ.get(VARIABLE)
    return Path(path) if path else None


def prepare_metrics_folder(folder: Path) -> None:
    """Create the folder, and remove the files of an earlier run; call it before the first worker starts."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


def remove_dead_workers(folder: Path) -> None:
    """Remove the gauges of workers that have ended; their counters stay."""
    pids = {int(found[1]) for file in folder.glob("gauge_live*.db") if (found := PID.search(file.name))}
    for pid in pids:
        if not Path(f"/proc/{pid}").exists():
            multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
