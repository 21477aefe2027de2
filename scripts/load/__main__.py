"""The command `python -m scripts.load`: traffic with a progress bar, and what came of it."""

import argparse
import asyncio
import json
import signal
import sys

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from model.errors import ModelError
from scripts.load.arguments import parse, plan_of, read_key
from scripts.load.errors import LoadError
from scripts.load.report import as_json, show
from scripts.load.run import run_load
from scripts.load.summary import Summary
from scripts.load.target import probe
from scripts.load.traffic import make_calls, pool_for


def main() -> int:
    """Run the command and return its exit status."""
    options = parse()
    # Progress goes to standard error, so that --json leaves nothing but JSON on standard output.
    console = Console(stderr=True)
    try:
        summary = asyncio.run(_load(options, console))
    except (LoadError, ModelError) as error:
        console.print(f"[red]error[/]: {escape(str(error))}", soft_wrap=True, highlight=False)
        return 2
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps(as_json(summary)))
    else:
        show(summary, Console())
    return summary.exit_status()


async def _load(options: argparse.Namespace, console: Console) -> Summary:
    key = read_key(options.key_file)
    target = probe(options.url, key)
    pool = pool_for(target, options.model_dir)
    calls = make_calls(options.scenario, pool, seed=options.seed, batch=options.batch, label_share=options.label_share)
    plan = plan_of(options)
    with _progress(console) as progress:
        task = progress.add_task(
            f"{options.scenario} -> {escape(target.url)}", total=plan.requests, doing="", failures=0
        )

        def watch(summary: Summary, doing: str) -> None:
            done = summary.sent + summary.dropped
            progress.update(task, completed=done, doing=doing, failures=summary.failures)

        return await run_load(target.url, calls, plan, _stop_signal(), watch, key=key)


def _stop_signal() -> asyncio.Event:
    """Return an event that the first Ctrl-C or SIGTERM sets; the second one has its usual effect."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end() -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    return stop


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}, {task.fields[failures]} failed"),
        console=console,
    )


if __name__ == "__main__":
    sys.exit(main())
