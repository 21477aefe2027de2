"""The databases and folders of a stack, by the settings of the API and of Evidently UI."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from api.settings import Settings
from evidently_workspace.ui.options import DATABASE_VARIABLE, DEFAULT_DATABASE


@dataclass(frozen=True)
class Places:
    """The addresses of both databases, and the folders of the model and the reports."""

    log_url: str
    workspace_url: str
    model_dir: Path
    reports_dir: Path

    @property
    def databases(self) -> dict[str, str]:
        """Return the databases' addresses by their name in a backup, in the order in which they are copied.

        The log comes first. A window that it records as posted then has its snapshot in the workspace, which is copied
        later; and a snapshot that is posted in between is found before its window is posted again.
        """
        return {"log": self.log_url, "workspace": self.workspace_url}

    @property
    def folders(self) -> dict[str, Path]:
        """Return the folders by their name in a backup."""
        return {"model": self.model_dir, "reports": self.reports_dir}


def add_workspace_url(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the database of Evidently UI."""
    parser.add_argument("--workspace-url", help=f"database of Evidently UI (default: {DATABASE_VARIABLE}[_FILE])")


def places(workspace_url: str | None = None) -> Places:
    """Return the places that the VIGIE_ settings name. Raises pydantic.ValidationError or OSError."""
    settings = Settings()
    return Places(
        settings.database_url.get_secret_value(),
        workspace_url or _workspace_url(),
        settings.model_dir,
        settings.reports_dir,
    )


def _workspace_url() -> str:
    file = os.environ.get(f"{DATABASE_VARIABLE}_FILE")
    if file is not None:
        return Path(file).read_text(encoding="utf-8").strip()
    return os.environ.get(DATABASE_VARIABLE, DEFAULT_DATABASE)
