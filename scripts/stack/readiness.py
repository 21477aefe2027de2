"""The wait until services answer, with a progress display."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from scripts.stack.child import Child
from scripts.stack.errors import ChildDiedError, NotReadyError, StoppedError
from scripts.stack.interruption import Interruption

_POLL_SECONDS = 0.2
_PROBE_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Service:
    """A child process and the address that answers 200 once it is ready."""

    child: Child
    ready_url: str

    def check(self) -> None:
        """Raise ChildDiedError if the process has ended."""
        status = self.child.exit_status()
        if status is not None:
            how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
            raise ChildDiedError(f"{self.child.name} {how}; its log: {self.child.log_file}", self.child.last_lines())


def await_ready(
    services: Sequence[Service], timeout_seconds: float, console: Console, interruption: Interruption
) -> None:
    """Return when every service answers; raises ChildDiedError, NotReadyError or StoppedError."""
    deadline = time.monotonic() + timeout_seconds
    columns = (
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress, _client() as client:
        starting = {progress.add_task(f"{service.child.name} is starting", total=1): service for service in services}
        while starting:
            for task, service in list(starting.items()):
                service.check()
                if _answers(client, service.ready_url):
                    _finish(progress, task, service)
                    del starting[task]
            if starting and interruption.wait(_POLL_SECONDS):
                raise StoppedError("stopped while the services were starting")
            if starting and time.monotonic() > deadline:
                late = next(iter(starting.values()))
                raise NotReadyError(
                    f"{late.child.name} did not become ready within {timeout_seconds:g} s: {late.ready_url}",
                    late.child.last_lines(),
                )


def _client() -> httpx.Client:
    return httpx.Client(timeout=_PROBE_TIMEOUT_SECONDS, trust_env=False)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _finish(progress: Progress, task: TaskID, service: Service) -> None:
    progress.update(task, completed=1, description=f"{service.child.name} is ready")
