"""The command `python -m scripts.audit`: asks whether a locked dependency has a known hole.

The list of known holes is on the internet. Where it cannot be asked, nothing is known, and the command says so: with
status 2, or 0 where `--or-say-why` asks for no more than a word about it, as `make lint` does.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements-dev.lock", "requirements-ui.lock", "requirements-setup.lock")
"""The first holds all of requirements.lock."""
_MAX_SECONDS = 300


@dataclass(frozen=True)
class Findings:
    """What is known: holes as lines, packages that were looked up, and why others were not."""

    holes: tuple[str, ...]
    asked: int
    unasked: tuple[str, ...]

    def verdict(self) -> tuple[int, str]:
        """Return the exit status and what to tell."""
        if self.holes:
            return 1, "\n".join(("known holes:", *self.holes))
        if self.unasked:
            return 2, f"not audited: {len(self.unasked)} of {self.asked + len(self.unasked)}: {self.unasked[0]}"
        return 0, f"no known holes in {self.asked} packages"


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.audit") -> int:
    """Ask about every lock and say what came of it."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("--or-say-why", action="store_true", help="status 0 where the list of holes cannot be asked")
    options = parser.parse_args(arguments)
    worst = 0
    for lock in LOCKS:
        status, text = _ask(ROOT / lock).verdict()
        print(f"{lock}: {text}")
        worst = 1 if 1 in {worst, status} else max(worst, status)
    return 0 if worst == 2 and options.or_say_why else worst


def _ask(lock: Path) -> Findings:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "5"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_MAX_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Findings((), 0, (f"no answer within {_MAX_SECONDS} s",))
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, LookupError):
        last = done.stderr.strip().splitlines()[-1:] or [f"pip-audit ended with status {done.returncode}"]
        return Findings((), 0, (last[0],))
    return read_answer(packages)


def read_answer(packages: Sequence[dict[str, Any]]) -> Findings:
    """Sort what pip-audit says of each package: one that it skipped was not found to be sound."""
    unasked = tuple(str(one["skip_reason"]) for one in packages if "skip_reason" in one)
    holes = tuple(
        f"  {one['name']} {one['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'none yet'}"
        for one in packages
        for hole in one.get("vulns", ())
    )
    return Findings(holes, len(packages) - len(unasked), unasked)


if __name__ == "__main__":
    sys.exit(main())
