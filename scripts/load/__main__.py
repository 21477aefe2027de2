"""The command `python -m scripts.load`: sends traffic with a progress bar, and prints the results."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from model.errors import ModelError
from scripts.command_line import above_zero, from_zero, share, whole_from
from scripts.load.errors import BadKeyError, LoadError
from scripts.load.run import Plan, run_load
from scripts.load.summary import Summary, as_json, show
from scripts.load.target import probe
from scripts.load.traffic import NAMES, make_calls, pool_for
from scripts.ports import API_URL


def parse(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Return the command line's values; an argument error ends the process with status 2 and one line."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Send seeded traffic to the API at a fixed rate, however long its answers take.",
        epilog="Exit status: 0 all requests had the expected answer, 1 some failed, 2 not started, 130 stopped early.",
    )
    add = parser.add_argument
    add("--url", default=API_URL, help="the API's address (%(default)s)")
    add("--scenario", choices=NAMES, default="steady", help="kind of traffic (%(default)s)")
    add("--rate", type=above_zero, default=20.0, help="requests per second (%(default)s)")
    add("--duration", type=above_zero, default=60.0, help="seconds (%(default)s)")
    add(
        "--seed",
        type=whole_from(0),
        default=0,
        help="same seed, same rows, order and labels (%(default)s)",
    )
    add(
        "--label-delay",
        type=from_zero,
        default=1.0,
        help="seconds from an answer to its label (%(default)s)",
    )
    add(
        "--label-share",
        type=share,
        default=1.0,
        help="share of the rows that get a label, 0 to 1 (%(default)s)",
    )
    add("--model-dir", type=Path,
        help="artifact whose hold-out rows are sent; it must be the one that the API serves (default: VIGIE_MODEL_DIR, "
        "or the folder of --model in VIGIE_MODELS_DIR, or data/model)")  # fmt: skip
    add("--model", metavar="NAME", help="which of several models gets the rows (default: the default model of the API)")
    add("--batch", type=whole_from(1, 10_000), default=1, help="rows per request (%(default)s)")
    add("--concurrency", type=whole_from(1, 2000), default=64, help="maximum number of requests at once (%(default)s)")
    add("--key-file", type=Path, help="file with the API key, if the API needs one; or set VIGIE_API_KEY")
    add("--json", action="store_true", help="print the summary as JSON on standard output")
    return parser.parse_args(arguments)


def _folder_of(model: str | None) -> Path:
    """Return the folder of the artifact that the settings name."""
    parent, chosen = os.environ.get("VIGIE_MODELS_DIR"), model or os.environ.get("VIGIE_DEFAULT_MODEL")
    if parent and chosen:
        return Path(parent) / chosen
    return Path(os.environ.get("VIGIE_MODEL_DIR") or "data/model")


def plan_of(options: argparse.Namespace) -> Plan:
    """Return the plan that the command line asks for."""
    return Plan(options.scenario, options.rate, options.duration, options.label_delay, options.concurrency)


def read_key(file: Path | None) -> str | None:
    """Return the API key of the file, or of VIGIE_API_KEY; None without either. Raises BadKeyError."""
    if file is None:
        return _key_in(os.environ["VIGIE_API_KEY"], "VIGIE_API_KEY") if os.environ.get("VIGIE_API_KEY") else None
    try:
        return _key_in(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise BadKeyError(f"cannot read the API key in {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadKeyError(f"{file} is not a text file with an API key") from None


def _key_in(text: str, source: str) -> str:
    """Return the key without the end of its line. More than one word is no key, but perhaps the file of hashes."""
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise BadKeyError(f"{source} does not hold one API key; `python -m scripts.keys create` prints one")
    return key


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.load") -> int:
    """Run the command and return its exit status."""
    options = parse(arguments, prog)
    # Progress goes to standard error, so that with --json standard output holds only JSON.
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
    target = probe(options.url, key, options.model)
    pool = pool_for(target, options.model_dir or _folder_of(options.model))
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
