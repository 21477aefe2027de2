"""Owns the folder through which several workers of one API share their metrics (PROMETHEUS_MULTIPROC_DIR).

Each worker keeps its values in files named by its pid, and whichever worker is scraped adds all of them up. Files of
an earlier run would be added too, so the launcher calls `prepare_metrics_folder` before it starts its workers.
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
    """Make the folder, and take away what an earlier run left there. To be called before the first worker starts."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


def remove_dead_workers(folder: Path) -> None:
    """Take away the gauges of workers that live no more; what they counted stays counted."""
    pids = {int(found[1]) for file in folder.glob("gauge_live*.db") if (found := PID.search(file.name))}
    for pid in pids:
        if not Path(f"/proc/{pid}").exists():
            multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
