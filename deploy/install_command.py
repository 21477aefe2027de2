"""Puts the command `vigie` into the environment that runs this, for a checkout: `python install_command.py FOLDER`.

It does what an editable install does, without a build tool and without a network.
"""

import sys
import sysconfig
from pathlib import Path

LAUNCHER = """\
#!/bin/sh
exec "{python}" -P -m scripts.vigie "$@"
"""


def main(checkout: Path) -> None:
    """Let the environment find the packages of the checkout, and write the launcher beside its Python."""
    write(Path(sysconfig.get_path("purelib")) / "vigie.pth", f"{checkout}\n")
    launcher = Path(sysconfig.get_path("scripts")) / "vigie"
    write(launcher, LAUNCHER.format(python=sys.executable))
    launcher.chmod(0o755)


def write(path: Path, text: str) -> None:
    """Write a file unless it holds this text already."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
