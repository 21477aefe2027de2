"""The embedded stack: a trained model, Evidently UI and the API, started together and stopped together."""

import os
import secrets
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.ports import HOST, is_free
from scripts.stack.config import StackConfig
from scripts.stack.errors import (
    ChildDiedError,
    DataDirError,
    NotReadyError,
    PortTakenError,
    StackError,
    StoppedError,
    TrainingError,
)
from scripts.stack.services import Child, Guard, Interruption, Service, await_ready


def ensure_secret(path: Path) -> Path:
    """Return the file, after writing a random secret into it if there was none; only its owner can read it.

    The file is created with mode 600 from the start, so there is no moment in which others could open it, and
    it appears under its name only when it is whole.
    """
    if path.exists() and path.stat().st_size:
        return path
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    draft.replace(path)
    return path


def make_private(folder: Path, known_by: Path | None = None) -> None:
    """Create a folder that only its owner may enter. One that is there is closed to others too, if it is ours.

    It is ours if it holds ``known_by``, a file that an earlier stack wrote.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if known_by is None or known_by.exists():
            folder.chmod(0o700)


_POLL_SECONDS = 0.1
_PROBE_TIMEOUT_SECONDS = 5.0


class Stack:
    """Evidently UI and the API as child processes, for as long as the `with` block lasts.

    Entering checks the ports, trains a model if there is none, starts both services and waits until both are
    ready. Leaving stops the API first, so that it can finish what it posts to the UI. Raises StackError after
    stopping all that had been started. `interruption`, if given, stops the start early with StoppedError.
    """

    def __init__(
        self, config: StackConfig, console: Console | None = None, interruption: Interruption | None = None
    ) -> None:
        # The services may be started from another folder than the one the paths are relative to.
        self.config = replace(config, data_dir=config.data_dir.resolve(), model_dir=config.model_dir.resolve())
        self._console = console or Console(stderr=True)
        self._interruption = interruption or Interruption()
        self._open = ExitStack()
        self._services: list[Service] = []

    def __enter__(self) -> Self:
        """Start everything and return the running stack."""
        try:
            check_ports(self.config)
            self._prepare_folders()
            guard = self._open.enter_context(Guard())
            for command in self.config.train_commands():
                self._train(guard, command)
            ui = self._start(
                guard, "Evidently UI", self.config.ui_command(), self.config.ui_environment(), "evidently-ui"
            )
            api = self._start(guard, "API", self.config.api_command(), self.config.api_environment(), "api")
            self._services = [
                Service(ui, f"{self.config.ui_url}/api/version"),
                Service(api, f"{self.config.api_url}/health/ready"),
            ]
            await_ready(self._services, self.config.ready_timeout_seconds, self._console, self._interruption)
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the API, then Evidently UI."""
        self._open.close()

    def check(self) -> None:
        """Raise ChildDiedError if a service has ended by itself."""
        for service in self._services:
            service.check()

    def wait(self) -> None:
        """Return when the user stops the stack; raises ChildDiedError if a service ends before that."""
        while not self._interruption.wait(_POLL_SECONDS):
            self.check()

    def addresses(self) -> dict[str, str]:
        """Return the addresses of the pages, by their titles."""
        return {
            "Swagger UI": f"{self.config.api_url}/docs",
            "Model health": self.project_url(),
            "Start page": f"{self.config.api_url}/",
            "Metrics": f"{self.config.api_url}/metrics",
        }

    def project_url(self) -> str:
        """Return the page of the newest project in Evidently UI, or of all projects while there is none."""
        try:
            answer = httpx.get(f"{self.config.ui_url}/api/projects", timeout=_PROBE_TIMEOUT_SECONDS, trust_env=False)
            projects = answer.raise_for_status().json()
            return f"{self.config.ui_url}/projects/{projects[0]['id']}"
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return self.config.ui_url

    def _prepare_folders(self) -> None:
        try:
            make_private(self.config.data_dir, known_by=self.config.secret_file)
            make_private(self.config.logs_dir)
            ensure_secret(self.config.secret_file)
        except OSError as error:
            raise DataDirError(f"cannot write to {self.config.data_dir}: {error.strerror or error}") from error

    def _train(self, guard: Guard, command: list[str]) -> None:
        training = Child("training", command, self.config.train_environment(), guard)
        try:
            while (status := training.exit_status()) is None:
                if self._interruption.wait(_POLL_SECONDS):
                    raise StoppedError("stopped while the model was being trained")
        finally:
            training.stop()
        if status != 0:
            raise TrainingError(f"training the model ended with status {status}; see its output above")

    def _start(self, guard: Guard, name: str, command: list[str], environment: dict[str, str], log_name: str) -> Child:
        child = Child(name, command, environment, guard, self.config.logs_dir / f"{log_name}.log")
        self._open.callback(child.stop, self._hurried)
        return child

    def _hurried(self) -> bool:
        """Return whether a second signal came, which ends every grace period."""
        return self._interruption.count > 1


def check_ports(config: StackConfig) -> None:
    """Raise PortTakenError unless both ports are free."""
    wanted: dict[str, tuple[int, str]] = {
        "Evidently UI": (config.ui_port, "--ui-port"),
        "the API": (config.api_port, "--api-port"),
    }
    if config.ui_port == config.api_port:
        raise PortTakenError(f"Evidently UI and the API cannot both listen on port {config.api_port}")
    for service, (port, option) in wanted.items():
        if not is_free(HOST, port):
            raise PortTakenError(
                f"port {port} is taken, and {service} needs it; stop the program that listens there "
                f"(see: lsof -i :{port}) or choose another port with {option}"
            )


def show_addresses(stack: Stack, console: Console) -> None:
    """Print the addresses of the pages, and the folder of the logs."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    for what, url in stack.addresses().items():
        # A link that a narrow terminal cuts does not work.
        table.add_row(what, f"[link={url}]{url}[/]", style="bold", end_section=False)
    table.columns[1].no_wrap = True
    console.print(table)
    console.print(f"logs: {escape(str(stack.config.logs_dir))}", style="dim", soft_wrap=True)


def show_error(error: StackError, console: Console) -> None:
    """Print one error, with the end of the log where a service failed."""
    if isinstance(error, StoppedError):
        console.print(escape(str(error)))
        return
    console.print(f"[red]error[/]: {escape(str(error))}", soft_wrap=True, highlight=False)
    if isinstance(error, ChildDiedError | NotReadyError) and error.last_lines:
        console.print("the end of its log:", style="dim")
        for line in error.last_lines:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def exit_status(error: StackError) -> int:
    """Return 2 for a port that is taken, 130 after the user stopped the stack, else 1."""
    if isinstance(error, StoppedError):
        return 130
    return 2 if isinstance(error, PortTakenError) else 1
