"""The command `python -m scripts.audit`: looks up known vulnerabilities of the locked dependencies."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DESCRIPTION = (
    "Look up known vulnerabilities of the locked dependencies. The list is on the internet; where it cannot be "
    "reached, the exit status is 2."
)
ROOT = Path(__file__).parents[1]
LOCKS = (
    "requirements-dev.lock",
    "requirements-boosting.lock",
    "requirements-ui.lock",
    "requirements-setup.lock",
    "requirements-bench.lock",
)
"""The first contains all of requirements.lock."""
_MAX_SECONDS = 300


@dataclass(frozen=True)
class Findings:
    """The vulnerabilities as lines, how many packages were looked up, and why others were not."""

    vulnerabilities: tuple[str, ...]
    looked_up: int
    skipped: tuple[str, ...]

    def verdict(self) -> tuple[int, str]:
        """Return the exit status and the text to print."""
        if self.vulnerabilities:
            return 1, "\n".join(("known vulnerabilities:", *self.vulnerabilities))
        if self.skipped:
            return 2, f"not audited: {len(self.skipped)} of {self.looked_up + len(self.skipped)}: {self.skipped[0]}"
        return 0, f"no known vulnerabilities in {self.looked_up} packages"


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.audit") -> int:
    """Look up the packages of every lock and print the results."""
    parser = argparse.ArgumentParser(prog=prog, description=DESCRIPTION)
    parser.add_argument(
        "--or-say-why", action="store_true", help="only print why, with status 0, where the list cannot be reached"
    )
    options = parser.parse_args(arguments)
    worst = 0
    for lock in LOCKS:
        status, text = _look_up(ROOT / lock).verdict()
        print(f"{lock}: {text}")
        worst = 1 if 1 in {worst, status} else max(worst, status)
    return 0 if worst == 2 and options.or_say_why else worst


def _look_up(lock: Path) -> Findings:
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
    return read_results(packages)


def read_results(packages: Sequence[dict[str, Any]]) -> Findings:
    """Sort the results of pip-audit. A package that it skipped counts as not looked up."""
    skipped = tuple(str(one["skip_reason"]) for one in packages if "skip_reason" in one)
    vulnerabilities = tuple(
        f"  {one['name']} {one['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'none yet'}"
        for one in packages
        for found in one.get("vulns", ())
    )
    return Findings(vulnerabilities, len(packages) - len(skipped), skipped)


if __name__ == "__main__":
    sys.exit(main())
