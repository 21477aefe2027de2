"""How a process of the API writes its log: to standard error, without the chatter of libraries."""

import logging
import time


class UtcFormatter(logging.Formatter):
    """Writes times in UTC, as windows have them: 2026-11-23T12:00:00.250Z."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


def log_to_stderr() -> None:
    """Set up logging; to be called once, as a process begins."""
    handler = logging.StreamHandler()
    handler.setFormatter(UtcFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in ("alembic", "apscheduler", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # it warns at each interval in which a job is still running; the metrics of the jobs show one that hangs
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
