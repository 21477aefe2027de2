"""Owns ``python -m api``: reads the settings, builds the app and serves it."""

import logging
import sys
from signal import SIGTERM, signal

import uvicorn
from pydantic import ValidationError

from api.app import create_app
from api.settings import Settings
from model.errors import ArtifactError


def main() -> int:
    """Serve until told to stop; 2 where the settings or the model are no good, with one line that says why."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # uvicorn raises the signal again once it has stopped; by default that would skip what Python does at its exit
    signal(SIGTERM, lambda _signal, _frame: sys.exit(0))
    try:
        settings = Settings()
        app = create_app(settings)
    except ValidationError as error:
        for item in error.errors():
            name = "_".join(str(part) for part in item["loc"]).upper()
            sys.stderr.write(f"VIGIE_{name}: {item['msg']}\n" if name else f"{item['msg']}\n")
        return 2
    except ArtifactError as error:
        sys.stderr.write(f"{error}\ntrain a model first: python -m model.train --out {settings.model_dir}\n")
        return 2
    uvicorn.run(app, host=settings.host, port=settings.port, access_log=False, timeout_graceful_shutdown=10)
    return 0


if __name__ == "__main__":
    sys.exit(main())
