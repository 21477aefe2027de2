"""How a process of the API writes its log: to standard error, without the chatter of libraries."""

import logging


def log_to_stderr() -> None:
    """Set up logging; to be called once, as a process begins."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("alembic", "apscheduler", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # it warns at each interval in which a job is still running; the metrics of the jobs show one that hangs
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
