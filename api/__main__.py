"""``python -m api``: reads the settings, builds the app and serves it, with one process or several."""

import gc
import logging
import os
import resource
import sys
from contextlib import ExitStack
from pathlib import Path
from signal import SIGTERM, signal
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from api import metrics_folder
from api.alerts.delivery import check_addresses
from api.app import create_app
from api.errors import BadAddresses, BadKeys
from api.installed_models import MissingDefault, find_models
from api.log_output import log_to_stderr
from api.middleware.head_limit import BoundedHeadProtocol
from api.settings import Settings
from model.artifact.store import verify_artifact
from model.errors import ArtifactError

MAX_OPEN_FILES = 65_536


def allow_many_open_files() -> None:
    """Raise the soft limit on open files towards the hard one: many clients soon reach 1,024, a common default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


logger = logging.getLogger(__name__)


def main() -> int:
    """Serve until a signal comes; 2 if the settings or the model are invalid, with one line that says why."""
    log_to_stderr()
    allow_many_open_files()
    # uvicorn raises the signal again once it has stopped; by default that would skip what Python does at its exit
    signal(SIGTERM, lambda _signal, _frame: sys.exit(0))
    try:
        settings = Settings()
        _warn_if_open_to_all(settings)
        if settings.workers == 1:
            uvicorn.run(_app(settings), **_options(settings))
        else:
            _check_models(settings)
            check_addresses(settings.notify_urls)
            _serve_with_workers(settings)
    except ValidationError as error:
        for item in error.errors():
            name = "_".join(str(part) for part in item["loc"]).upper()
            sys.stderr.write(f"VIGIE_{name}: {item['msg']}\n" if name else f"{item['msg']}\n")
        return 2
    except (BadKeys, BadAddresses, MissingDefault) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except ArtifactError as error:
        place = settings.model_dir if settings.models_dir is None else settings.models_dir / "NAME"
        sys.stderr.write(f"{error}\ntrain a model first: python -m model.train --out {place}\n")
        return 2
    return 0


def _check_models(settings: Settings) -> None:
    """Refuse a start without a model before any worker does. Raises ArtifactError."""
    installation = find_models(settings)
    if installation.is_single:
        verify_artifact(settings.model_dir)


def build() -> FastAPI:
    """Build the app of one worker of several."""
    log_to_stderr()
    return _app(Settings())


def _app(settings: Settings) -> FastAPI:
    """Build the app, and exempt what was made so far from garbage collection: it lives as long as the process.

    Otherwise every full collection walks through all of it, and no request is answered meanwhile.
    """
    app = create_app(settings)
    gc.collect()
    gc.freeze()
    return app


def _serve_with_workers(settings: Settings) -> None:
    """Serve with several processes, which share their metrics through a folder that is emptied first."""
    with ExitStack() as stack:
        if metrics_folder.VARIABLE not in os.environ:
            os.environ[metrics_folder.VARIABLE] = stack.enter_context(TemporaryDirectory(prefix="vigie-metrics-"))
        metrics_folder.prepare_metrics_folder(Path(os.environ[metrics_folder.VARIABLE]))
        uvicorn.run("api.__main__:build", factory=True, workers=settings.workers, **_options(settings))


def _warn_if_open_to_all(settings: Settings) -> None:
    if settings.is_exposed and not settings.has_keys:
        logger.warning(
            "the API listens on %s without keys: every machine that reaches it may predict, send labels and read; "
            "make keys with python -m scripts.keys, and name their file in VIGIE_API_KEYS_FILE",
            settings.host,
        )


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "access_log": False,
        "timeout_graceful_shutdown": 10,
        "timeout_keep_alive": settings.keep_alive_seconds,
        "http": BoundedHeadProtocol,
        "ws": "none",
        "server_header": False,
    }


if __name__ == "__main__":
    sys.exit(main())
