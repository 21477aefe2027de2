"""Owns how a process of the API writes its log: to standard error, with what chatters turned down."""

import logging


def log_to_stderr() -> None:
    """Set up logging; to be called once, as a process begins."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("alembic", "apscheduler", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
