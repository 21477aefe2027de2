"""The command `python -m scripts.licences`: writes the table of docs/licences.md from the packages' metadata."""

import argparse
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

DESCRIPTION = "Write the licences of the locked packages into docs/licences.md."
ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-boosting.lock", "requirements-ui.lock", "requirements-bench.lock")
"""The packages of the API, of its optional group, of the image of Evidently UI, and the tables of the benchmark."""
PAGE = ROOT / "docs" / "licences.md"
HEAD = "| package | licence |\n|---|---|\n"
MAX_NAME = 60
"""A longer field contains the text of a licence instead of its name."""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.licences") -> int:
    """Write the table; packages that are not for this machine keep their rows."""
    argparse.ArgumentParser(prog=prog, description=DESCRIPTION).parse_args(arguments)
    text = PAGE.read_text(encoding="utf-8")
    before, found, table = text.partition(HEAD)
    if not found:
        print(f"error: {PAGE} has no table of packages", file=sys.stderr)
        return 2
    PAGE.write_text(before + HEAD + "".join(_rows(read_table(table))), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(locked())} packages")
    return 0


def locked() -> list[str]:
    """Return the names of the packages in the locks, in order."""
    texts = [(ROOT / lock).read_text(encoding="utf-8") for lock in LOCKS]
    return sorted({name for text in texts for name in re.findall(r"^([a-z0-9][\w.-]*)==", text, re.MULTILINE)})


def read_table(text: str) -> dict[str, str]:
    """Return the licences of a table by package."""
    return dict(re.findall(r"^\| (\S+) \| (.+) \|$", text, re.MULTILINE))


def licence_of(package: str) -> str | None:
    """Return the licence in the metadata of an installed package; None where it is not installed.

    That is its SPDX expression (PEP 639), or the name in the older field, or its classifiers.
    """
    try:
        found_metadata = metadata(package)
    except PackageNotFoundError:
        return None
    classifiers = [
        one.split(" :: ")[-1] for one in found_metadata.get_all("Classifier", []) if one.startswith("License :: ")
    ]
    for expression in found_metadata.get_all("License-Expression", []):
        return str(expression)
    named = "".join(found_metadata.get_all("License", [])).strip()
    if named and len(named) <= MAX_NAME and "\n" not in named:
        return named
    return ", ".join(classifiers) or (named.splitlines()[0] if named else "not said")


def _rows(known: dict[str, str]) -> list[str]:
    licences = {package: licence_of(package) or known.get(package, "not installed here") for package in locked()}
    return [f"| {package} | {licence} |\n" for package, licence in licences.items()]


if __name__ == "__main__":
    sys.exit(main())
