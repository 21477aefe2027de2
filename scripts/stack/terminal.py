"""How the embedded stack speaks to a person: its addresses, and what went wrong."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.stack.errors import ChildDiedError, NotReadyError, PortTakenError, StackError, StoppedError
from scripts.stack.stack import Stack


def show_addresses(stack: Stack, console: Console) -> None:
    """Print where to look."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    for what, url in stack.addresses().items():
        # A link cut by a narrow terminal is no link.
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
    """Return 2 for what was wrong before the start, 130 for an end that was asked for, else 1."""
    if isinstance(error, StoppedError):
        return 130
    return 2 if isinstance(error, PortTakenError) else 1
