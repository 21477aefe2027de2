"""The console command `vigie`: every command of the project as a subcommand.

A subcommand keeps the options and the help of its module, which is imported only when the subcommand is called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import typer

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
"""Leaves the arguments, `--help` among them, to the module's own parser."""


@dataclass(frozen=True)
class Command:
    """A subcommand: its name, the module whose `main` it calls, and its line in the help."""

    name: str
    module: str
    help: str
    has_options: bool = True


PANELS: dict[str, tuple[Command, ...]] = {
    "Run it": (
        Command("run", "scripts.stack.__main__", "Start Evidently UI and the API on this machine, without Docker."),
        Command("demo", "scripts.demo.__main__", "Start both, send traffic that drifts, show which checks fail."),
        Command("load", "scripts.load.__main__", "Send traffic to a running API."),
        Command("serve", "api.__main__", "Start the API alone, by its VIGIE_ settings.", has_options=False),
        Command("ui", "evidently_workspace.ui.__main__", "Start Evidently UI alone."),
    ),
    "Models": (
        Command("train", "model.train", "Train a model on your CSV file or on bundled data."),
        Command("adopt", "model.adopt", "Import a scikit-learn pipeline that was fitted elsewhere."),
        Command("watch", "model.watch", "Watch a model that is served elsewhere, in any language."),
        Command("ingest", "scripts.ingest.__main__", "Send a file of predictions that were made elsewhere."),
        Command("calibrate", "scripts.calibrate", "Set the alarms or the reference from the log, or undo that."),
        Command("mute", "scripts.mute", "Mute a check or a column until a time, or end that."),
        Command("threshold", "scripts.threshold", "Set the threshold of a check, or take that back."),
        Command("backtest", "scripts.backtest", "Show what the alarms would have done on past rows."),
    ),
    "Look at it": (
        Command("addresses", "scripts.addresses", "Print the addresses of the Docker stack.", has_options=False),
        Command("report", "scripts.report", "Make one HTML report for any period of the prediction log."),
        Command("export", "scripts.export", "Write logged predictions and labels into a Parquet or CSV file."),
        Command("doctor", "scripts.doctor", "Check what this machine lacks, and what needs it."),
    ),
    "Look after it": (
        Command("keys", "scripts.keys", "Create, list and revoke API keys."),
        Command("secrets", "scripts.secrets", "Make Docker Compose's secret files, or replace one."),
        Command("backup", "scripts.backup.__main__", "Copy log, model, reports and workspace into one file."),
        Command("restore", "scripts.restore", "Put a backup back where nothing exists yet."),
        Command("clock", "scripts.clock", "Bring back what a clock that was ahead left in the log."),
        Command("erase", "scripts.erase", "Remove the predictions that a file names, and their labels."),
        Command("retention", "scripts.retention", "Remove old snapshots, reports and rows, or show what would go."),
    ),
    "For developers": (
        Command(
            "bench",
            "scripts.bench.__main__",
            "Measure alarms, estimates, API, log and workspace.",
        ),
        Command("screenshots", "scripts.screenshots", "Take the pictures of the docs from a running stack."),
        Command("audit", "scripts.audit", "Look up known vulnerabilities of the locked dependencies."),
        Command("licences", "scripts.licences", "Write the licences of all packages into docs/licences.md."),
    ),
}

app = typer.Typer(
    help="Vigie: a prediction API that watches its own model.",
    epilog="vigie COMMAND --help lists the options of a command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _callback(command: Command) -> Callable[[typer.Context], None]:
    def call(context: typer.Context) -> None:
        main = import_module(command.module).main
        raise typer.Exit(main(context.args, prog=context.command_path) if command.has_options else main())

    return call


for _panel, _commands in PANELS.items():
    for _command in _commands:
        app.command(
            _command.name,
            help=_command.help,
            rich_help_panel=_panel,
            add_help_option=not _command.has_options,
            context_settings=_PASS_ON if _command.has_options else None,
        )(_callback(_command))


if __name__ == "__main__":
    app(prog_name="vigie")
