"""The configuration of an embedded stack: its ports and folders, and the commands and environments of its services."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evidently_workspace.ui.options import DATABASE_VARIABLE, SECRET_VARIABLE
from scripts.ports import API_PORT, HOST, UI_PORT

# The stack sets this itself; a value inherited from the shell would contradict it.
_OWN = {SECRET_VARIABLE, f"{SECRET_VARIABLE}_FILE"}
_API_SECRETS = {"VIGIE_DATABASE_URL", "VIGIE_API_KEYS", "VIGIE_NOTIFY_URLS", "PGPASSWORD", "PGPASSFILE"}
_OTHER_SECRETS = {DATABASE_VARIABLE, "VIGIE_API_KEY"}
"""Secrets of the shell for other programs: a workspace elsewhere, and a caller's key."""
_SECRET_NAME = re.compile(
    r"SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEYS?(_FILE)?$", re.IGNORECASE
)


@dataclass(frozen=True)
class StackConfig:
    """The ports, folders and settings of an embedded stack.

    `data_dir` holds the log, reports, secret and process logs. `inherited` is the environment that the
    services start with. `interval_seconds` and `workers`, if None, are left to the API's own settings.
    """

    data_dir: Path
    model_dir: Path
    api_port: int = API_PORT
    ui_port: int = UI_PORT
    interval_seconds: int | None = None
    workers: int | None = None
    inherited: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    ready_timeout_seconds: float = 180.0
    more_models: Sequence[Sequence[str]] = ()
    """The commands that make more models, each unless it is there."""

    @property
    def api_url(self) -> str:
        """Return the API's address, without a trailing slash."""
        return f"http://{HOST}:{self.api_port}"

    @property
    def ui_url(self) -> str:
        """Return Evidently UI's address, without a trailing slash."""
        return f"http://{HOST}:{self.ui_port}"

    @property
    def logs_dir(self) -> Path:
        """Return the folder of the services' logs."""
        return self.data_dir / "logs"

    @property
    def secret_file(self) -> Path:
        """Return the file that holds Evidently UI's secret."""
        return self.data_dir / "evidently.secret"

    def train_command(self) -> list[str]:
        """Return the command that trains a model unless there is one."""
        return [sys.executable, "-m", "model.train", "--if-missing", "--out", str(self.model_dir)]

    def train_commands(self) -> list[list[str]]:
        """Return the commands that train each model unless it is there."""
        return [self.train_command(), *map(list, self.more_models)]

    def ui_command(self) -> list[str]:
        """Return the command that serves Evidently UI."""
        database = f"sqlite:///{self.data_dir / 'evidently.db'}"
        options = ["--host", HOST, "--port", str(self.ui_port), "--database", database]
        return [sys.executable, "-m", "evidently_workspace.ui", *options]

    def api_command(self) -> list[str]:
        """Return the command that serves the API."""
        return [sys.executable, "-m", "api"]

    def train_environment(self) -> dict[str, str]:
        """Return the training's environment: the inherited one without secrets."""
        return self._without_secrets()

    def ui_environment(self) -> dict[str, str]:
        """Return Evidently UI's environment: its secret's file, and no other secret."""
        return self._services(self._without_secrets())

    def api_environment(self) -> dict[str, str]:
        """Return the API's environment: the inherited one with this stack's addresses and folders.

        Other programs' secrets of which we know are left out. A custom pipeline may need the rest.
        """
        own = {
            "VIGIE_HOST": HOST,
            "VIGIE_PORT": str(self.api_port),
            "VIGIE_MODEL_DIR": str(self.model_dir),
            "VIGIE_REPORTS_DIR": str(self.data_dir / "reports"),
            "VIGIE_EVIDENTLY_URL": self.ui_url,
        }
        # If the shell names a database, by value or by file, the log goes there.
        if not {"VIGIE_DATABASE_URL", "VIGIE_DATABASE_URL_FILE"} & self.inherited.keys():
            own["VIGIE_DATABASE_URL"] = f"sqlite:///{self.data_dir / 'vigie.db'}"
        if self.interval_seconds is not None:
            own["VIGIE_SNAPSHOT_INTERVAL_SECONDS"] = str(self.interval_seconds)
        if self.workers is not None:
            own["VIGIE_WORKERS"] = str(self.workers)
        hidden = _with_files(_OTHER_SECRETS)
        return self._services({name: value for name, value in self.inherited.items() if name not in hidden}) | own

    def _without_secrets(self) -> dict[str, str]:
        """Return the inherited environment without what is a secret, or is called like one."""
        hidden = _with_files(_API_SECRETS | _OTHER_SECRETS) | _OWN
        kept = {name: value for name, value in self.inherited.items() if name not in hidden}
        return {name: value for name, value in kept.items() if not _SECRET_NAME.search(name)}

    def _services(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return an environment of a service, which reads the stack's secret from its file."""
        kept = {name: value for name, value in inherited.items() if name not in _OWN}
        # The services reach each other over loopback, without the proxy of the shell.
        outside = kept.get("no_proxy") or kept.get("NO_PROXY")
        direct = ",".join(filter(None, (outside, HOST, "localhost")))
        own = {
            f"{SECRET_VARIABLE}_FILE": str(self.secret_file),
            "NO_PROXY": direct,
            "no_proxy": direct,
            "PYTHONUNBUFFERED": "1",
        }
        return kept | own


def _with_files(names: set[str]) -> set[str]:
    """Return the variables and those that name a file with the value instead."""
    return names | {f"{name}_FILE" for name in names}
